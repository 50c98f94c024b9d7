//! A client that sends exactly the bytes it is told to.

// Each test binary uses its part.
#![allow(dead_code)]

use super::{PASSWORD, Script};
use standin::tds::{Encryption, TlsSettings, serve};
use std::{io, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::JoinHandle,
};

pub const BATCH: u8 = 1;
pub const RPC: u8 = 3;
pub const ATTENTION: u8 = 6;
pub const TRANSACTION: u8 = 14;
pub const LOGIN: u8 = 16;
pub const PRELOGIN: u8 = 18;

pub const HEADERS: [u8; 22] = [22, 0, 0, 0, 18, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];

pub struct Raw {
    pub stream: DuplexStream,
    pub served: JoinHandle<io::Result<()>>,
}

pub fn packet(kind: u8, status: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 8).unwrap().to_be_bytes();
    [&[kind, status], &length[..], &[0, 0, 1, 0], body].concat()
}

pub fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

pub fn prelogin() -> Vec<u8> {
    packet(PRELOGIN, 1, &[1, 0, 6, 0, 1, 0xFF, 2])
}

pub fn login(packet_size: u32) -> Vec<u8> {
    let password: Vec<u8> = wide(PASSWORD).iter().map(|byte| byte.rotate_left(4) ^ 0xA5).collect();
    let fields = [vec![], wide("sa"), password, vec![], vec![], vec![], vec![], vec![], vec![]];
    let mut body: Vec<u8> = [0, 0x7400_0004, packet_size, 7, 1, 0].iter().flat_map(|n| n.to_le_bytes()).collect();
    body.extend([0; 12]);
    let mut offset = 94_u16;
    for field in &fields {
        let length = u16::try_from(field.len()).unwrap();
        body.extend(offset.to_le_bytes());
        body.extend((length / 2).to_le_bytes());
        offset += length;
    }
    body.resize(94, 0);
    body.extend(fields.concat());
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    body[..4].copy_from_slice(&length);
    packet(LOGIN, 1, &body)
}

pub fn batch(sql: &str) -> Vec<u8> {
    packet(BATCH, 1, &[&HEADERS[..], &wide(sql)].concat())
}

pub fn call(id: u8, parameters: &[&[u8]]) -> Vec<u8> {
    packet(RPC, 1, &[&HEADERS[..], &[0xFF, 0xFF, id, 0, 0, 0], &parameters.concat()].concat())
}

pub fn text(value: &str) -> Vec<u8> {
    let value = wide(value);
    let length = u16::try_from(value.len()).unwrap().to_le_bytes();
    [&[0, 0, 0xE7, 0x40, 0x1F, 9, 4, 0xD0, 0, 0x34], &length[..], &value].concat()
}

pub fn int(value: i32) -> Vec<u8> {
    [&[0, 0, 0x26, 4, 4], &value.to_le_bytes()[..]].concat()
}

pub const OUT_INT: &[u8] = &[0, 1, 0x26, 4, 0];

impl Raw {
    pub fn open(script: &Arc<Script>) -> Self {
        let tls = Some(TlsSettings::self_signed("mssql-0").unwrap());
        let (stream, far) = tokio::io::duplex(64 << 10);
        let served = tokio::spawn(serve(script.clone(), Box::new(far), tls, Encryption::Optional));
        Self { stream, served }
    }

    pub async fn logged_in(script: &Arc<Script>) -> Self {
        let mut raw = Self::open(script);
        raw.ask(&prelogin()).await;
        raw.ask(&login(4_096)).await;
        raw
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// One whole message, without its packet headers.
    pub async fn receive(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let mut header = [0; 8];
            self.stream.read_exact(&mut header).await.unwrap();
            assert_eq!(header[0], 4, "every answer is of packet type 4");
            let length = usize::from(u16::from_be_bytes([header[2], header[3]])) - 8;
            let start = body.len();
            body.resize(start + length, 0);
            self.stream.read_exact(&mut body[start..]).await.unwrap();
            if header[1] & 1 != 0 {
                return body;
            }
        }
    }

    pub async fn ask(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.send(bytes).await;
        self.receive().await
    }

    pub async fn ended(mut self) -> io::Result<()> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.unwrap();
        self.served.await.unwrap()
    }
}

pub fn done(token: u8, status: u8) -> Vec<u8> {
    [&[token, status][..], &[0; 11]].concat()
}

pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

pub fn error(number: i32) -> Vec<u8> {
    number.to_le_bytes().to_vec()
}

//! LOGIN7.

use super::{
    backend::LoginRequest,
    bytes::{Malformed, Reader, utf16},
};

/// TDS 7.2, the oldest version whose tokens are the ones written here.
const OLDEST: u32 = 0x7209_0002;
const V7_4: u32 = 0x7400_0004;
const V8_0: u32 = 0x0800_0000;

const FEATURE_EXTENSION: u8 = 0x10;
const INTEGRATED: u8 = 0x80;
const READ_ONLY_INTENT: u8 = 0x20;

/// What the login message says, beyond who logs in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) request: LoginRequest,
    pub(super) version: u32,
    pub(super) packet_size: u32,
    /// Windows authentication was asked for.
    pub(super) integrated: bool,
}

/// Reads the message. Feature extensions are skipped: SQL Server need not acknowledge any.
pub(super) fn parse(body: &[u8]) -> Result<Login, Malformed> {
    let mut head = Reader::new(body);
    let length = head.length()?;
    if length > body.len() {
        return Err(Malformed("a login longer than its message"));
    }
    let version = head.u32()?;
    let packet_size = head.u32()?;
    head.take(12)?; // client version, process, connection
    let [_, options2, types, options3] = head.array()?;
    head.take(8)?; // time zone, language
    // Offset, and length in units: characters, except for the extension.
    let mut field = |unit: usize| {
        let offset = usize::from(head.u16()?);
        let length = usize::from(head.u16()?) * unit;
        body.get(offset..offset + length).ok_or(Malformed("a login field outside its message"))
    };
    let host = utf16(field(2)?)?;
    let user = utf16(field(2)?)?;
    let password = utf16(&revealed(field(2)?))?;
    let application = utf16(field(2)?)?;
    let (_server, extension, _library, _language) = (field(2)?, field(1)?, field(2)?, field(2)?);
    let database = utf16(field(2)?)?;
    if options3 & FEATURE_EXTENSION != 0 && extension.is_empty() {
        return Err(Malformed("a login without its feature extensions"));
    }
    let request =
        LoginRequest { user, password, application, host, database, read_only_intent: types & READ_ONLY_INTENT != 0 };
    Ok(Login { request, version, packet_size, integrated: options2 & INTEGRATED != 0 })
}

/// Undoes what clients do to passwords: nibbles exchanged, then combined with 0xA5.
fn revealed(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| (byte ^ 0xA5).rotate_left(4)).collect()
}

/// The version to acknowledge, as LOGINACK writes it; `None` for clients from before TDS 7.2.
pub(super) fn acknowledged(version: u32, strict: bool) -> Option<[u8; 4]> {
    if version == V8_0 && strict {
        return Some([8, 0, 0, 0]);
    }
    if version < OLDEST {
        return None;
    }
    Some(version.min(V7_4).to_be_bytes())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::tds::bytes::Put;

    /// A login message as a client builds it.
    pub(in crate::tds) fn message(request: &LoginRequest, version: u32, packet_size: u32) -> Vec<u8> {
        let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        let hidden: Vec<u8> = wide(&request.password).iter().map(|byte| byte.rotate_left(4) ^ 0xA5).collect();
        let (host, user, application) = (wide(&request.host), wide(&request.user), wide(&request.application));
        let fields = [host, user, hidden, application, vec![], vec![], vec![], vec![], wide(&request.database)];
        let mut out = Vec::new();
        for number in [0, version, packet_size, 7, 1, 0] {
            out.u32(number);
        }
        out.bytes(&[0, 0, if request.read_only_intent { READ_ONLY_INTENT } else { 0 }, 0]);
        out.bytes(&[0; 8]);
        let mut offset = 94;
        for field in &fields {
            out.u16(offset);
            out.u16(u16::try_from(field.len() / 2).unwrap());
            offset += u16::try_from(field.len()).unwrap();
        }
        out.resize(94, 0);
        fields.iter().for_each(|field| out.bytes(field));
        let length = u32::try_from(out.len()).unwrap().to_le_bytes();
        out[..4].copy_from_slice(&length);
        out
    }

    pub(in crate::tds) fn sa() -> LoginRequest {
        LoginRequest {
            user: "sa".into(),
            password: "Pässw0rd!😀".into(),
            application: "test".into(),
            host: "here".into(),
            database: "orders".into(),
            read_only_intent: true,
        }
    }

    #[test]
    fn a_login_says_who_from_where_to_which_database_and_with_what_intent() {
        let login = parse(&message(&sa(), V7_4, 8_000)).unwrap();
        assert_eq!(login, Login { request: sa(), version: V7_4, packet_size: 8_000, integrated: false });
    }

    #[test]
    fn a_password_is_hidden_by_exchanged_nibbles_and_0xa5() {
        assert_eq!(revealed(&[0xA2, 0xA5]), *b"p\0");
    }

    #[test]
    fn the_version_acknowledged_is_the_clients_own_and_8_0_only_in_strict() {
        assert_eq!(acknowledged(V7_4, false), Some([0x74, 0, 0, 4]));
        assert_eq!(acknowledged(0x730B_0003, false), Some([0x73, 0x0B, 0, 3]));
        assert_eq!(acknowledged(V8_0, true), Some([8, 0, 0, 0]));
        assert_eq!(acknowledged(V7_4, true), Some([0x74, 0, 0, 4]));
        assert_eq!(acknowledged(V8_0, false), None);
        assert_eq!(acknowledged(0x7100_0001, false), None);
    }

    #[test]
    fn fields_outside_the_message_are_malformed() {
        let good = message(&sa(), V7_4, 4_096);
        for cut in 0..good.len() {
            assert!(parse(&good[..cut]).is_err());
        }
        let mut bad = good;
        bad[40..44].copy_from_slice(&[0xFF; 4]);
        assert!(parse(&bad).is_err());
    }
}

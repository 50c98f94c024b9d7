//! PRELOGIN: versions and the encryption that both sides agree on.

use super::bytes::{Malformed, Put, Reader};

const VERSION: u8 = 0;
const ENCRYPTION: u8 = 1;
const INSTANCE: u8 = 2;
const THREAD: u8 = 3;
const MARS: u8 = 4;
const TERMINATOR: u8 = 0xFF;

/// What the server demands of connections. TDS 8.0 (TLS first of all) is understood whenever there is a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Encryption {
    /// No TLS at all.
    Off,
    /// As the client likes; the login itself is encrypted if the client can.
    #[default]
    Optional,
    /// `network.forceencryption`: no connection in clear.
    Required,
    /// Only TDS 8.0.
    Strict,
}

/// Values of the ENCRYPTION option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// Only the login is encrypted.
    Off,
    On,
    NotSupported,
    Required,
}

impl Offer {
    fn code(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::On => 1,
            Self::NotSupported => 2,
            Self::Required => 3,
        }
    }
}

/// What a client asks for; it does not have to say anything.
pub(super) fn parse(body: &[u8]) -> Result<Offer, Malformed> {
    let mut options = Reader::new(body);
    let mut offer = Offer::NotSupported;
    loop {
        let token = options.u8()?;
        if token == TERMINATOR {
            return Ok(offer);
        }
        let (offset, length) = (usize::from(options.u16_be()?), usize::from(options.u16_be()?));
        let end = offset + length;
        let data = body.get(offset..end).ok_or(Malformed("a PRELOGIN option outside its message"))?;
        if token == ENCRYPTION {
            // 0x80 announces a client certificate.
            offer = match data.first().map(|code| code & 0x7F) {
                Some(0) => Offer::Off,
                Some(1) => Offer::On,
                Some(2) => Offer::NotSupported,
                Some(3) => Offer::Required,
                _ => return Err(Malformed("an unknown ENCRYPTION option")),
            };
        }
    }
}

/// What the server answers to a client that did not begin with TLS.
pub(super) fn negotiate(encryption: Encryption, client: Offer) -> Offer {
    match (encryption, client) {
        (Encryption::Off, _) | (Encryption::Optional, Offer::NotSupported) => Offer::NotSupported,
        (_, Offer::On | Offer::Required) => Offer::On,
        (Encryption::Optional, Offer::Off) => Offer::Off,
        (Encryption::Required | Encryption::Strict, _) => Offer::Required,
    }
}

/// The answer. MARS is refused.
pub(super) fn answer(version: [u8; 4], offer: Offer) -> Vec<u8> {
    let [major, minor, high, low] = version;
    let version = [major, minor, high, low, 0, 0];
    let encryption = [offer.code()];
    let options: [(u8, &[u8]); 5] =
        [(VERSION, &version), (ENCRYPTION, &encryption), (INSTANCE, &[0]), (THREAD, &[]), (MARS, &[0])];
    let mut out = Vec::new();
    let mut offset = 5 * options.len() + 1;
    for (token, data) in options {
        out.u8(token);
        out.u16_be(u16::try_from(offset).unwrap_or(0));
        out.u16_be(u16::try_from(data.len()).unwrap_or(0));
        offset += data.len();
    }
    out.u8(TERMINATOR);
    options.iter().for_each(|(_, data)| out.bytes(data));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encryption_is_answered_as_sql_server_does_for_optional_forced_and_none() {
        let answers = |client| {
            [Encryption::Optional, Encryption::Required, Encryption::Off].map(|server| negotiate(server, client).code())
        };
        assert_eq!(answers(Offer::Off), [0, 3, 2]);
        assert_eq!(answers(Offer::On), [1, 1, 2]);
        assert_eq!(answers(Offer::NotSupported), [2, 3, 2]);
        assert_eq!(answers(Offer::Required), [1, 1, 2]);
    }

    #[test]
    fn the_answer_names_the_version_and_refuses_mars() {
        let out = answer([16, 0, 0x10, 0x46], Offer::On);
        assert_eq!(out[..5], [VERSION, 0, 26, 0, 6]);
        assert_eq!(out[26..32], [16, 0, 0x10, 0x46, 0, 0]);
        assert_eq!(out[32..], [1, 0, 0]);
        assert_eq!(parse(&out), Ok(Offer::On));
    }

    #[test]
    fn a_client_that_does_not_mention_encryption_has_none() {
        assert_eq!(parse(&[TERMINATOR]), Ok(Offer::NotSupported));
    }

    #[test]
    fn options_outside_the_message_are_malformed() {
        assert!(parse(&[]).is_err());
        assert!(parse(&[ENCRYPTION, 0, 6, 0, 1, TERMINATOR]).is_err());
        assert!(parse(&[ENCRYPTION, 0xFF, 0xFF, 0xFF, 0xFF, TERMINATOR]).is_err());
        assert!(parse(&[ENCRYPTION, 0, 6, 0, 1, TERMINATOR, 9]).is_err());
    }
}

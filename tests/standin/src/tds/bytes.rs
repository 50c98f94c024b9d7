//! Primitive fields of messages. Reading never trusts a length: what is not there is [`Malformed`].

use std::{fmt, io};

/// Bytes that are not what the protocol allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed TDS: {}", self.0)
    }
}

impl From<Malformed> for io::Error {
    fn from(malformed: Malformed) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, malformed.to_string())
    }
}

/// A cursor over received bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(Malformed("the stream ended unexpectedly"))?;
        self.0 = tail;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(Malformed("the stream ended unexpectedly"))?;
        self.0 = tail;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u16_be(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A length of four bytes as a count of bytes.
    pub(super) fn length(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.u32()?).map_err(|_| Malformed("a length beyond this machine"))
    }

    /// UTF-16 text of `units` code units.
    pub(super) fn text(&mut self, units: usize) -> Result<String, Malformed> {
        utf16(self.take(units.saturating_mul(2))?)
    }

    /// Text with a length of one byte before it.
    pub(super) fn b_varchar(&mut self) -> Result<String, Malformed> {
        let units = self.u8()?;
        self.text(usize::from(units))
    }
}

/// Little-endian UTF-16; half characters are refused rather than changed.
pub(super) fn utf16(bytes: &[u8]) -> Result<String, Malformed> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Malformed("UTF-16 text with half a code unit"));
    }
    char::decode_utf16(pairs.iter().map(|pair| u16::from_le_bytes(*pair)))
        .collect::<Result<String, _>>()
        .map_err(|_| Malformed("UTF-16 text with half a surrogate pair"))
}

/// Writing the same fields.
pub(super) trait Put {
    fn u8(&mut self, value: u8);
    fn bytes(&mut self, value: &[u8]);

    fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    fn u16_be(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    fn i32(&mut self, value: i32) {
        self.bytes(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    /// Text with a length of one byte before it, cut after 255 code units.
    fn b_varchar(&mut self, text: &str) {
        let units = cut(text, 255);
        self.u8(u8::try_from(units.len()).unwrap_or(u8::MAX));
        units.iter().for_each(|unit| self.u16(*unit));
    }

    /// Text with a length of two bytes before it, cut after `most` code units.
    fn us_varchar(&mut self, text: &str, most: usize) {
        let units = cut(text, most.min(usize::from(u16::MAX)));
        self.u16(u16::try_from(units.len()).unwrap_or(u16::MAX));
        units.iter().for_each(|unit| self.u16(*unit));
    }

    /// A body with its length of two bytes before it.
    fn counted(&mut self, body: &[u8]) {
        self.u16(u16::try_from(body.len()).unwrap_or(u16::MAX));
        self.bytes(body.get(..usize::from(u16::MAX)).unwrap_or(body));
    }
}

impl Put for Vec<u8> {
    fn u8(&mut self, value: u8) {
        self.push(value);
    }

    fn bytes(&mut self, value: &[u8]) {
        self.extend_from_slice(value);
    }
}

/// The first `most` code units of a text, without cutting a character in two.
fn cut(text: &str, most: usize) -> Vec<u16> {
    let mut units = Vec::new();
    let mut room = [0u16; 2];
    for character in text.chars() {
        let coded = character.encode_utf16(&mut room);
        if units.len() + coded.len() > most {
            break;
        }
        units.extend_from_slice(coded);
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_past_the_end_is_malformed_and_never_a_panic() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u16(), Ok(0x0201));
        assert!(reader.u32().is_err());
        assert_eq!(reader.u8(), Ok(3));
        assert!(reader.text(usize::MAX).is_err());
    }

    #[test]
    fn half_a_surrogate_pair_is_refused_rather_than_replaced() {
        assert!(utf16(&[0x00, 0xD8]).is_err());
        assert!(utf16(&[0x41]).is_err());
        assert_eq!(utf16(&[0x41, 0, 0x3D, 0xD8, 0x00, 0xDE]).unwrap(), "A😀");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let mut bytes = Vec::new();
        bytes.us_varchar("a😀", 2);
        assert_eq!(bytes, [1, 0, 0x61, 0]);
    }
}

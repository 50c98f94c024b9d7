//! Code page 1252, the character set of `varchar` under the server's collation.

/// What the bytes 0x80 to 0x9F mean; the rest are the code points of the same number.
const HIGH: [char; 32] = [
    '\u{20AC}', '\u{81}', '\u{201A}', '\u{192}', '\u{201E}', '\u{2026}', '\u{2020}', '\u{2021}', '\u{2C6}', '\u{2030}',
    '\u{160}', '\u{2039}', '\u{152}', '\u{8D}', '\u{17D}', '\u{8F}', '\u{90}', '\u{2018}', '\u{2019}', '\u{201C}',
    '\u{201D}', '\u{2022}', '\u{2013}', '\u{2014}', '\u{2DC}', '\u{2122}', '\u{161}', '\u{203A}', '\u{153}', '\u{9D}',
    '\u{17E}', '\u{178}',
];

/// Bytes to text.
pub(super) fn decode(bytes: &[u8]) -> String {
    let one = |byte: &u8| match byte.checked_sub(0x80).and_then(|index| HIGH.get(usize::from(index))) {
        Some(character) => *character,
        None => char::from(*byte),
    };
    bytes.iter().map(one).collect()
}

/// Text to bytes; what the code page does not have becomes a question mark, as in SQL Server.
pub(super) fn encode(text: &str) -> Vec<u8> {
    let one = |character: char| {
        if let Some(index) = HIGH.iter().position(|high| *high == character) {
            return u8::try_from(index + 0x80).unwrap_or(b'?');
        }
        match u8::try_from(u32::from(character)) {
            Ok(byte) if !(0x80..0xA0).contains(&byte) => byte,
            _ => b'?',
        }
    };
    text.chars().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_the_way_to_text_and_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(encode(&decode(&all)), all);
        assert_eq!(decode(&[0x80]), "€");
    }

    #[test]
    fn a_character_outside_the_code_page_becomes_a_question_mark() {
        assert_eq!(encode("naïve ✓"), b"na\xEFve ?");
    }
}

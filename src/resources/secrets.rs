//! Secrets that we generate. They belong to the volumes: they stay when the object goes, unless the volumes go too.

use super::{PASSWORD, admin_secret_name, object, operator_secret_name, with};
use crate::model::Group;
use serde_json::{Value, json};

/// A password of 24 characters in four classes from random bytes: what SQL Server's policy asks for.
pub(super) fn password(random: &[u8; 24]) -> String {
    const CLASSES: [&str; 4] = ["ABCDEFGHJKLMNPQRSTUVWXYZ", "abcdefghijkmnopqrstuvwxyz", "23456789", "-_.+="];
    let character = |(i, byte): (usize, &u8)| {
        // The first four are one of each class, the rest letters and digits of any.
        let class = if i < CLASSES.len() { i } else { usize::from(*byte >> 6) % 3 };
        let letters = CLASSES.get(class).copied().unwrap_or("x");
        letters.chars().nth(usize::from(*byte) % letters.len()).unwrap_or('x')
    };
    random.iter().enumerate().map(character).collect()
}

/// Secret with a generated password of `sa`.
pub fn admin_secret(group: &Group, random: &[u8; 24]) -> Value {
    let secret = object(group, "v1", "Secret", &admin_secret_name(group), group.pods.delete_volumes);
    with(secret, "stringData", json!({ PASSWORD: password(random) }))
}

/// Secret with the passwords of `quorate_look` and `quorate_act`.
pub fn operator_secret(group: &Group, look: &[u8; 24], act: &[u8; 24]) -> Value {
    let secret = object(group, "v1", "Secret", &operator_secret_name(group), group.pods.delete_volumes);
    with(secret, "stringData", json!({ "look": password(look), "act": password(act) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_has_four_classes_whatever_the_bytes_are() {
        for byte in 0..=255u8 {
            let text = password(&[byte; 24]);
            assert_eq!(text.len(), 24);
            let has = |test: fn(char) -> bool| text.chars().any(test);
            assert!(
                has(|c| c.is_ascii_uppercase())
                    && has(|c| c.is_ascii_lowercase())
                    && has(|c| c.is_ascii_digit())
                    && has(|c| c.is_ascii_punctuation()),
                "{text}"
            );
        }
    }
}

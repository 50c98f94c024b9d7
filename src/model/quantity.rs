//! Quantities as Kubernetes writes them: `4Gi`, `500m`, `1e3`.

/// The amount in units (bytes, cores). `None`: not a quantity, or negative.
///
/// Suffixes: Kubernetes' apimachinery, `pkg/api/resource`, "Quantity".
pub fn parse(text: &str) -> Option<f64> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(end)?;
    if number.is_empty() || number == "." {
        return None;
    }
    let number: f64 = number.parse().ok()?;
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024f64,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        exponent => {
            let digits = exponent.strip_prefix(['e', 'E'])?;
            10f64.powi(digits.parse::<i32>().ok().filter(|n| n.abs() <= 18)?)
        }
    };
    Some(number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_powers_of_two_and_ten() {
        assert_eq!(parse("2Gi"), Some(2_147_483_648.0));
        assert_eq!(parse("2048Mi"), parse("2Gi"));
        assert_eq!(parse("500m"), Some(0.5));
        assert_eq!(parse("1e3"), Some(1000.0));
        assert_eq!(parse(".5k"), Some(500.0));
    }

    #[test]
    fn what_is_not_a_quantity_is_none() {
        for text in ["", ".", "-1", "2GiB", "Gi", "1e", "1e99", "1.2.3", "2 Gi", "ä"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

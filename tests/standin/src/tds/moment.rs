//! Dates and times: microseconds since 1970 here, four different encodings on the wire.

/// Days from 1900-01-01 to 1970-01-01.
const FROM_1900: i64 = 25_567;
/// Days from 0001-01-01 to 1970-01-01.
const FROM_0001: i64 = 719_162;
/// Days from 0001-01-01 to 9999-12-31.
const LAST_DAY: i64 = 3_652_058;
/// Days from 1900-01-01 to 1753-01-01, the first day of `datetime`.
const FIRST_DATETIME: i64 = -53_690;
const DAY: i64 = 86_400_000_000;

/// `datetime`: days since 1900 and three-hundredths of a second, rounded; `None` outside 1753 to 9999.
pub(super) fn to_datetime(micros: i64) -> Option<(i32, u32)> {
    let mut days = micros.div_euclid(DAY) + FROM_1900;
    let mut ticks = (micros.rem_euclid(DAY) * 3 + 5_000) / 10_000;
    if ticks == 300 * 86_400 {
        (days, ticks) = (days + 1, 0);
    }
    let in_range = days >= FIRST_DATETIME && days + FROM_0001 - FROM_1900 <= LAST_DAY;
    if !in_range {
        return None;
    }
    Some((i32::try_from(days).ok()?, u32::try_from(ticks).ok()?))
}

/// The reverse of [`to_datetime`]; `None` outside the years 1 to 9999.
pub(super) fn from_datetime(days: i32, ticks: u32) -> Option<i64> {
    if ticks >= 300 * 86_400 {
        return None;
    }
    // A tick is 3.33 ms; SQL Server shows it rounded to milliseconds ending in 0, 3 and 7.
    let micros = (i64::from(ticks) * 10 + 1) / 3 * 1_000;
    join(i64::from(days) - FROM_1900, micros)
}

/// `smalldatetime`: days since 1900 and minutes.
pub(super) fn from_smalldatetime(days: u16, minutes: u16) -> Option<i64> {
    let within = minutes < 24 * 60;
    within.then(|| join(i64::from(days) - FROM_1900, i64::from(minutes) * 60_000_000)).flatten()
}

/// Length of the time part at a scale.
pub(super) fn time_length(scale: u8) -> usize {
    match scale {
        0..=2 => 3,
        3..=4 => 4,
        _ => 5,
    }
}

/// `datetime2`: units of 10^-scale seconds since midnight, rounded, and days since the year 1.
pub(super) fn to_datetime2(micros: i64, scale: u8) -> Option<(u64, u32)> {
    let mut days = micros.div_euclid(DAY) + FROM_0001;
    let within = micros.rem_euclid(DAY);
    let mut units = match scale {
        7 => within * 10,
        _ => {
            let unit = 10_i64.checked_pow(6 - u32::from(scale.min(6)))?;
            (within + unit / 2) / unit
        }
    };
    let full = 86_400 * 10_i64.checked_pow(u32::from(scale.min(7)))?;
    if units >= full {
        (days, units) = (days + 1, 0);
    }
    if !(0..=LAST_DAY).contains(&days) {
        return None;
    }
    Some((u64::try_from(units).ok()?, u32::try_from(days).ok()?))
}

/// Time of day from units of 10^-scale seconds, in microseconds.
pub(super) fn from_time(units: u64, scale: u8) -> Option<i64> {
    let units = i64::try_from(units).ok()?;
    let micros = match scale {
        7 => units / 10,
        0..=6 => units.checked_mul(10_i64.checked_pow(6 - u32::from(scale))?)?,
        _ => return None,
    };
    (micros < DAY).then_some(micros)
}

/// A date from days since the year 1 and a time of day.
pub(super) fn from_date(days: u32, micros: i64) -> Option<i64> {
    join(i64::from(days) - FROM_0001, micros)
}

/// The day that `time` values are put on: 1900-01-01.
pub(super) fn on_first_of_1900(micros: i64) -> i64 {
    micros - FROM_1900 * DAY
}

fn join(days_since_1970: i64, micros: i64) -> Option<i64> {
    let in_range = (0..=LAST_DAY).contains(&(days_since_1970 + FROM_0001));
    in_range.then(|| days_since_1970 * DAY + micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_is_day_25567_of_datetime_and_719162_of_datetime2() {
        assert_eq!(to_datetime(0), Some((25_567, 0)));
        assert_eq!(to_datetime2(0, 7), Some((0, 719_162)));
        assert_eq!(from_datetime(25_567, 0), Some(0));
        assert_eq!(from_date(719_162, 0), Some(0));
    }

    #[test]
    fn datetime_counts_three_hundredths_of_a_second() {
        assert_eq!(to_datetime(10_000), Some((25_567, 3)));
        assert_eq!(from_datetime(25_567, 1), Some(3_000));
        assert_eq!(from_datetime(25_567, 2), Some(7_000));
        assert_eq!(to_datetime(DAY - 1), Some((25_568, 0)));
    }

    #[test]
    fn datetime2_rounds_to_its_scale() {
        assert_eq!(to_datetime2(1_234_567, 7), Some((12_345_670, 719_162)));
        assert_eq!(to_datetime2(1_234_567, 3), Some((1_235, 719_162)));
        assert_eq!(to_datetime2(DAY - 1, 0), Some((0, 719_163)));
    }

    #[test]
    fn dates_outside_the_calendar_of_sql_server_are_refused() {
        assert_eq!(to_datetime2(i64::MAX, 7), None);
        assert_eq!(to_datetime2(i64::MIN, 7), None);
        assert_eq!(to_datetime(i64::MIN), None);
        assert_eq!(from_date(u32::MAX, 0), None);
        assert_eq!(from_datetime(i32::MAX, 0), None);
        assert_eq!(from_datetime(0, u32::MAX), None);
        assert_eq!(from_time(u64::MAX, 7), None);
    }
}

//! Reads a POSIX cron expression into the values that each of its five fields allows.

use super::ScheduleError;
use crate::error::nearest;
use chrono::{Datelike, NaiveDate};

/// Longest expression that is read, in characters; every value of every field written out is shorter.
const LONGEST: usize = 600;

/// The five fields, each a set of values. Sunday is 0 in `weekdays`, which never holds 7.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expression {
    pub minutes: Values,
    pub hours: Values,
    pub days: Values,
    pub months: Values,
    pub weekdays: Values,
}

impl Expression {
    /// Whether it fires on that day; where both day fields are restricted, either may match.
    pub fn names_day(&self, date: NaiveDate) -> bool {
        let day = self.days.contains(date.day());
        let weekday = self.weekdays.contains(date.weekday().num_days_from_sunday());
        let names = if self.days.restricted && self.weekdays.restricted { day || weekday } else { day && weekday };
        names && self.months.contains(date.month())
    }

    /// How many local times it names on a day on which it fires.
    pub fn times_a_day(&self) -> u64 {
        u64::from(self.minutes.bits.count_ones()) * u64::from(self.hours.bits.count_ones())
    }
}

/// The values of one field, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Values {
    bits: u64,
    /// False only for a bare `*`.
    pub restricted: bool,
}

impl Values {
    fn contains(self, value: u32) -> bool {
        self.bits >> value & 1 == 1
    }

    /// The values in ascending order.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        (0..64u32).filter(move |v| self.bits >> v & 1 == 1)
    }
}

/// What is known about one of the five fields.
struct Field {
    name: &'static str,
    /// What its values count, for messages.
    unit: &'static str,
    min: u32,
    /// The last value that may be written (7 is Sunday again).
    max: u32,
    /// The last value that `*` means.
    star_max: u32,
    /// Names of the values from `min` on.
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", unit: "minutes", min: 0, max: 59, star_max: 59, names: &[] },
    Field { name: "hour", unit: "hours", min: 0, max: 23, star_max: 23, names: &[] },
    Field { name: "day of month", unit: "days", min: 1, max: 31, star_max: 31, names: &[] },
    Field { name: "month", unit: "months", min: 1, max: 12, star_max: 12, names: &MONTHS },
    Field { name: "day of week", unit: "days", min: 0, max: 7, star_max: 6, names: &WEEKDAYS },
];

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const NICKNAMES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// Longest month that each month can be, January first.
const MONTH_DAYS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// A piece of the expression and the column at which it starts, counted in characters from 1.
#[derive(Debug, Clone, Copy)]
struct Piece<'a> {
    text: &'a str,
    column: usize,
}

impl<'a> Piece<'a> {
    /// The rest of this piece from byte `start` on, `len` bytes long.
    fn part(self, start: usize, len: usize) -> Piece<'a> {
        let before = self.text.get(..start).unwrap_or_default();
        let text = self.text.get(start..start + len).unwrap_or_default();
        Piece { text, column: self.column + before.chars().count() }
    }

    /// The pieces between separators.
    fn split(self, separator: char) -> impl Iterator<Item = Piece<'a>> {
        let mut start = 0;
        self.text.split(separator).map(move |text| {
            let piece = self.part(start, text.len());
            start += text.len() + separator.len_utf8();
            piece
        })
    }

    /// The pieces before and after the first separator.
    fn split_once(self, separator: char) -> Option<(Piece<'a>, Piece<'a>)> {
        let at = self.text.find(separator)?;
        let after = at + separator.len_utf8();
        Some((self.part(0, at), self.part(after, self.text.len() - after)))
    }

    fn fault(self, field: &Field, message: impl std::fmt::Display) -> ScheduleError {
        ScheduleError { position: self.column, message: format!("{} field: {message}", field.name) }
    }
}

/// Reads `text`.
///
/// # Errors
/// The first thing that is wrong, and where.
pub(super) fn parse(text: &str) -> Result<Expression, ScheduleError> {
    let length = text.chars().count();
    if length > LONGEST {
        let message = format!("the expression has {length} characters; at most {LONGEST} are read");
        return Err(ScheduleError { position: LONGEST + 1, message });
    }
    let pieces = words(text);
    let Some(first) = pieces.first() else {
        let message = "the expression is empty; it needs five fields such as `0 2 * * *`".to_owned();
        return Err(ScheduleError { position: 1, message });
    };
    if first.text.starts_with('@') {
        let standing_for = nickname(&pieces)?;
        return parse_fields(&words(standing_for), length);
    }
    parse_fields(&pieces, length)
}

/// The words of `text` with their columns.
fn words(text: &str) -> Vec<Piece<'_>> {
    let whole = Piece { text, column: 1 };
    let mut found = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices().chain(std::iter::once((text.len(), ' '))) {
        match (start, c.is_whitespace()) {
            (None, false) => start = Some(at),
            (Some(from), true) => {
                found.push(whole.part(from, at - from));
                start = None;
            }
            _ => {}
        }
    }
    found
}

/// The expression that `@daily` and its like stand for.
fn nickname(pieces: &[Piece<'_>]) -> Result<&'static str, ScheduleError> {
    let [name, rest @ ..] = pieces else {
        return Err(ScheduleError { position: 1, message: "the expression is empty".to_owned() });
    };
    let fault = |message| Err(ScheduleError { position: name.column, message });
    let known = NICKNAMES.iter().find(|(n, _)| n.eq_ignore_ascii_case(name.text));
    match (known, rest.first()) {
        (Some((_, meaning)), None) => Ok(meaning),
        (Some((known, _)), Some(extra)) => {
            let message = format!("{:?} follows {known}, which stands alone", extra.text);
            Err(ScheduleError { position: extra.column, message })
        }
        (None, _) if name.text.eq_ignore_ascii_case("@reboot") => {
            fault("@reboot has no meaning here: nothing boots; write when to run".to_owned())
        }
        (None, _) if name.text.eq_ignore_ascii_case("@every") => {
            fault("@every is not read; write a step, such as `*/5 * * * *` for every five minutes".to_owned())
        }
        (None, _) => {
            let hint = nearest(name.text, NICKNAMES.iter().map(|(n, _)| *n)).map_or_else(
                || "@hourly, @daily, @weekly, @monthly and @yearly are known".to_owned(),
                |n| format!("did you mean {n}?"),
            );
            fault(format!("{} is not known; {hint}", name.text))
        }
    }
}

/// Reads the five fields; `length` is the expression's, in characters.
fn parse_fields(pieces: &[Piece<'_>], length: usize) -> Result<Expression, ScheduleError> {
    let order = "minute, hour, day of month, month, day of week";
    let [minute, hour, day, month, weekday] = pieces else {
        let count = pieces.len();
        let (position, message) = match pieces.get(5) {
            Some(sixth) if count <= 7 => {
                (sixth.column, format!("{count} fields, but there are five ({order}): seconds and years are not read"))
            }
            Some(sixth) => (sixth.column, format!("{count} fields, but there are five ({order})")),
            None => (length + 1, format!("{count} of five fields ({order}); the rest is missing")),
        };
        return Err(ScheduleError { position, message });
    };
    let [minutes, hours, days, months, weekdays] = FIELDS;
    let expression = Expression {
        minutes: parse_field(&minutes, *minute)?,
        hours: parse_field(&hours, *hour)?,
        days: parse_field(&days, *day)?,
        months: parse_field(&months, *month)?,
        weekdays: sundays_as_zero(parse_field(&weekdays, *weekday)?),
    };
    must_fire(&expression, *day)?;
    Ok(expression)
}

fn sundays_as_zero(values: Values) -> Values {
    let seventh = 1 << 7;
    let bits = if values.bits & seventh == 0 { values.bits } else { values.bits & !seventh | 1 };
    Values { bits, ..values }
}

/// Refuses days that none of the months has. A weekday, where given, always comes round.
fn must_fire(expression: &Expression, day: Piece<'_>) -> Result<(), ScheduleError> {
    let longest = expression
        .months
        .iter()
        .filter_map(|m| Some((*MONTH_DAYS.get(m as usize - 1)?, *MONTHS.get(m as usize - 1)?)))
        .max_by_key(|(days, _)| *days);
    let (Some((longest, month)), Some(earliest)) = (longest, expression.days.iter().next()) else { return Ok(()) };
    if earliest <= longest || expression.weekdays.restricted {
        return Ok(());
    }
    let [_, _, field, _, _] = &FIELDS;
    Err(day.fault(field, format_args!("this never fires: {month} has no day {earliest}, its last is {longest}")))
}

fn parse_field(field: &Field, piece: Piece<'_>) -> Result<Values, ScheduleError> {
    let mut bits = 0;
    for item in piece.split(',') {
        if item.text.is_empty() {
            return Err(item.fault(field, "a value is missing beside the comma"));
        }
        bits |= parse_item(field, item)?;
    }
    Ok(Values { bits, restricted: piece.text != "*" })
}

/// One element of a list: `*`, `5`, `1-5`, and the first and last also with a step.
fn parse_item(field: &Field, item: Piece<'_>) -> Result<u64, ScheduleError> {
    let (base, step) = match item.split_once('/') {
        Some((base, step)) => (base, Some(parse_step(field, step)?)),
        None => (item, None),
    };
    let (from, to) = if base.text == "*" {
        (field.min, field.star_max)
    } else if let Some((from, to)) = base.split_once('-') {
        parse_range(field, base, from, to)?
    } else {
        let value = parse_value(field, base)?;
        if let Some(step) = step {
            let to = field.star_max.max(value);
            let message = format!(
                "a step needs a range or `*` before it: write `{value}-{to}/{step}` for every {step} {} from {value} on",
                field.unit
            );
            return Err(base.fault(field, message));
        }
        (value, value)
    };
    Ok((from..=to).step_by(step.unwrap_or(1) as usize).fold(0, |bits, value| bits | 1 << value))
}

fn parse_step(field: &Field, step: Piece<'_>) -> Result<u32, ScheduleError> {
    let most = field.star_max - field.min + 1;
    match number(step.text) {
        Some(0) => Err(step.fault(field, "a step of 0 would never move on; 1 or more is needed")),
        Some(n) if n <= most => Ok(n),
        Some(n) => {
            Err(step.fault(field, format_args!("a step of {n} is more than the {most} {} there are", field.unit)))
        }
        None if step.text.is_empty() => Err(step.fault(field, "a number is missing after `/`")),
        None => Err(step.fault(field, format_args!("the step {:?} is not a number", step.text))),
    }
}

fn parse_range(field: &Field, whole: Piece<'_>, from: Piece<'_>, to: Piece<'_>) -> Result<(u32, u32), ScheduleError> {
    for end in [from, to] {
        if end.text.is_empty() {
            return Err(whole.fault(
                field,
                format_args!("the range {:?} lacks an end; write it as `{}-{}`", whole.text, field.min, field.star_max),
            ));
        }
    }
    let first = parse_value(field, from)?;
    let mut last = parse_value(field, to)?;
    // A week that is written by name may end with Sunday.
    if field.max == 7 && to.text.eq_ignore_ascii_case("SUN") && first > 0 {
        last = 7;
    }
    if first <= last {
        return Ok((first, last));
    }
    let hint = if field.max == 7 && last == 0 {
        format!("write `{}-7`: Sunday is 0 and 7", from.text)
    } else {
        format!("write `{first}-{},{}-{last}` if it should wrap around", field.star_max, field.min)
    };
    Err(whole.fault(field, format_args!("the range {:?} is reversed; {hint}", whole.text)))
}

fn parse_value(field: &Field, piece: Piece<'_>) -> Result<u32, ScheduleError> {
    let Some(value) = number(piece.text).or_else(|| named(field, piece.text)) else {
        return Err(not_a_value(field, piece));
    };
    if (field.min..=field.max).contains(&value) {
        return Ok(value);
    }
    Err(piece.fault(field, format_args!("{} is out of bounds; {} to {} are allowed", piece.text, field.min, field.max)))
}

/// Digits only, without a sign. What is too large for a `u32` is too large for every field.
fn number(text: &str) -> Option<u32> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().unwrap_or(u32::MAX))
}

fn named(field: &Field, text: &str) -> Option<u32> {
    let at = field.names.iter().position(|n| n.eq_ignore_ascii_case(text))?;
    u32::try_from(at).ok().map(|at| at + field.min)
}

/// Says what is wrong with a piece that is neither a number nor a name.
fn not_a_value(field: &Field, piece: Piece<'_>) -> ScheduleError {
    let text = piece.text;
    let upper = text.to_ascii_uppercase();
    let before =
        |c: char| upper.strip_suffix(c).is_some_and(|rest| rest.is_empty() || number(rest).is_some() || rest == "L");
    if text.is_empty() {
        return piece.fault(field, "a value is missing");
    }
    if let Some((at, sign)) = text.char_indices().find(|(_, c)| matches!(c, '?' | '#' | '~')) {
        let advice = if sign == '?' { "; write `*`" } else { "" };
        return piece
            .part(at, sign.len_utf8())
            .fault(field, format_args!("`{sign}` is not part of POSIX cron{advice}"));
    }
    if before('L') || before('W') || upper == "H" {
        let last = if field.name == "day of month" && upper == "L" {
            "; the last day of a month cannot be written, `28-31` is the nearest"
        } else {
            ""
        };
        return piece
            .fault(field, format_args!("{text:?} (L, W and H of other crons) is not part of POSIX cron{last}"));
    }
    if text.contains('*') {
        return piece.fault(field, format_args!("`*` stands alone or before a step, not in {text:?}"));
    }
    if field.names.is_empty() {
        return piece
            .fault(field, format_args!("{text:?} is not a number; {} to {} are allowed", field.min, field.max));
    }
    let names = format!("{} to {}", field.names.first().unwrap_or(&""), field.names.last().unwrap_or(&""));
    let start = upper.get(..3).and_then(|s| field.names.iter().find(|n| **n == s)).copied();
    let hint = start
        .or_else(|| nearest(text, field.names.iter().copied()))
        .map(|n| format!("; did you mean {n}?"))
        .unwrap_or_default();
    piece.fault(
        field,
        format_args!("{text:?} is neither a number ({} to {}) nor a name ({names}){hint}", field.min, field.max),
    )
}

//! Text for pages: whatever a project, a branch or a peer calls itself becomes one bounded line
//! without control characters before a template sees it. The templates escape HTML by type.

use std::fmt;

use askama::filters::HtmlSafe;
use caravan_protocol::time::Stamp;
use jiff::Timestamp;

use crate::limits;

/// A line of foreign text that is safe to put between other text: bounded, and without characters
/// that steer a terminal or the direction of writing. It is not HTML; templates escape it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Text(String);

impl Text {
    pub(crate) fn new(text: &str) -> Self {
        Self::bounded(text, limits::TEXT_CHARS_MAX)
    }

    /// Only the first line of `text`.
    pub(crate) fn line(text: &str) -> Self {
        Self::new(text.lines().next().unwrap_or_default())
    }

    fn bounded(text: &str, chars_max: usize) -> Self {
        let mut clean: String = text.chars().take(chars_max).map(plain).collect();
        if text.chars().nth(chars_max).is_some() {
            clean.push('…');
        }
        Self(clean)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// HTML that this crate wrote, every foreign character in it escaped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Html(pub(crate) String);

impl fmt::Display for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Html {}

/// Several lines of foreign text, kept as lines.
pub(crate) fn block(text: &str) -> String {
    let keep = |c| if c == '\n' { c } else { plain(c) };
    let mut clean: String = text
        .chars()
        .take(limits::RECIPE_CHARS_MAX)
        .map(keep)
        .collect();
    if text.chars().nth(limits::RECIPE_CHARS_MAX).is_some() {
        clean.push('…');
    }
    clean
}

/// Whether a character does something other than stand in its place.
pub(crate) fn is_steering(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn plain(c: char) -> char {
    match c {
        '\t' | '\n' => ' ',
        c if is_steering(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

/// Appends `c`, escaped for HTML text and attributes.
pub(crate) fn push_escaped(out: &mut String, c: char) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\'' => out.push_str("&#39;"),
        c => out.push(c),
    }
}

/// `text` escaped for HTML text and attributes.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| push_escaped(&mut out, c));
    out
}

/// A span of time in two units at most: `850 ms`, `12.3 s`, `4 min 05 s`, `3 h 12 min`, `2 d 4 h`.
pub(crate) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{}.{} s", seconds, ms % 1000 / 100),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// How long before `now` something was: `just now`, `5 min ago`, ...
pub(crate) fn ago(then: Stamp, now: Stamp) -> String {
    let seconds = now.as_ms().saturating_sub(then.as_ms()) / 1000;
    match seconds {
        0..10 => "just now".to_owned(),
        10..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// A number with thin spaces between groups of three digits.
pub(crate) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A size in binary units.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = bytes.saturating_mul(10) / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// A moment as people and `<time datetime>` read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct When {
    /// RFC 3339, UTC.
    pub(crate) exact: String,
    /// Relative to the moment the page was made.
    pub(crate) ago: String,
}

impl When {
    pub(crate) fn new(then: Stamp, now: Stamp) -> Self {
        let ms = i64::try_from(then.as_ms()).unwrap_or(i64::MAX);
        let exact = Timestamp::from_millisecond(ms)
            .map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
            .unwrap_or_else(|_| "9999-12-31T23:59:59Z".to_owned());
        Self {
            exact,
            ago: ago(then, now),
        }
    }

    pub(crate) fn readable(&self) -> String {
        self.exact.replace('T', " ").replace('Z', " UTC")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steering_characters_become_replacement_characters() {
        let text = Text::new("a\u{202e}b\x1b[31mc\td\u{2066}e\u{7f}");
        assert_eq!(text.as_str(), "a\u{fffd}b\u{fffd}[31mc d\u{fffd}e\u{fffd}");
        assert_eq!(Text::new("שלום 🐫 é").as_str(), "שלום 🐫 é");
        assert_eq!(Text::line("one\ntwo").as_str(), "one");
        assert_eq!(block("one\n\u{202e}two"), "one\n\u{fffd}two");
    }

    #[test]
    fn long_text_is_cut_with_a_mark() {
        let text = Text::new(&"x".repeat(limits::TEXT_CHARS_MAX + 1));
        assert_eq!(text.as_str().chars().count(), limits::TEXT_CHARS_MAX + 1);
        assert!(text.as_str().ends_with('…'));
    }

    #[test]
    fn times_and_sizes_read_well() {
        assert_eq!(duration(850), "850 ms");
        assert_eq!(duration(12_345), "12.3 s");
        assert_eq!(duration(245_000), "4 min 05 s");
        assert_eq!(duration(11_520_000), "3 h 12 min");
        assert_eq!(duration(187_200_000), "2 d 4 h");
        assert_eq!(number(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(number(123), "123");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 * 1024 * 1024 * 1024), "5.0 GiB");
        assert_eq!(bytes(u64::MAX), "1638.3 PiB");
        let now = Stamp::from_ms(1_800_000_000_000);
        assert_eq!(ago(Stamp::from_ms(1_799_999_700_000), now), "5 min ago");
        assert_eq!(When::new(now, now).exact, "2027-01-15T08:00:00Z");
        assert!(
            When::new(Stamp::from_ms(u64::MAX), now)
                .exact
                .starts_with("9999")
        );
    }
}

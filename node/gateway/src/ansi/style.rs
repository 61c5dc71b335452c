//! How a character of a log looks: what SGR sequences have said so far.

use super::palette;

/// Colours as indices into the palette of 256, and weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Style {
    front: Option<u8>,
    back: Option<u8>,
    bold: bool,
    dim: bool,
    italic: bool,
    underline: bool,
    struck: bool,
    inverse: bool,
}

const PARAMETERS_MAX: usize = 32;

impl Style {
    /// Takes the parameters of one SGR sequence. Unknown ones are passed over.
    pub(super) fn apply(&mut self, parameters: &str) {
        if parameters.starts_with(['<', '=', '>', '?']) {
            return;
        }
        let mut numbers = parameters
            .split([';', ':'])
            .take(PARAMETERS_MAX)
            .map(|number| number.parse::<u16>().unwrap_or(0));
        while let Some(number) = numbers.next() {
            match number {
                38 => self.front = extended(&mut numbers).or(self.front),
                48 => self.back = extended(&mut numbers).or(self.back),
                other => self.simple(other),
            }
        }
    }

    fn simple(&mut self, number: u16) {
        let low = u8::try_from(number % 10).unwrap_or_default();
        match number {
            0 => *self = Self::default(),
            1 => self.bold = true,
            2 => self.dim = true,
            3 => self.italic = true,
            4 | 21 => self.underline = true,
            7 => self.inverse = true,
            9 => self.struck = true,
            22 => (self.bold, self.dim) = (false, false),
            23 => self.italic = false,
            24 => self.underline = false,
            27 => self.inverse = false,
            29 => self.struck = false,
            30..=37 => self.front = Some(low),
            39 => self.front = None,
            40..=47 => self.back = Some(low),
            49 => self.back = None,
            90..=97 => self.front = Some(low + 8),
            100..=107 => self.back = Some(low + 8),
            _ => {}
        }
    }

    /// Writes the element that begins text of this style.
    pub(super) fn open(self, out: &mut String) {
        if self == Self::default() {
            return;
        }
        out.push_str("<span class=\"");
        let start = out.len();
        let mut class = |name: &str| {
            if out.len() > start {
                out.push(' ');
            }
            out.push_str(name);
        };
        let (front, back) = if self.inverse {
            (self.back, self.front)
        } else {
            (self.front, self.back)
        };
        match front {
            Some(colour) => class(&format!("f{colour}")),
            None if self.inverse => class("fi"),
            None => {}
        }
        match back {
            Some(colour) => class(&format!("b{colour}")),
            None if self.inverse => class("bi"),
            None => {}
        }
        for (set, name) in [
            (self.bold, "sb"),
            (self.dim, "sd"),
            (self.italic, "si"),
            (self.underline, "su"),
            (self.struck, "ss"),
        ] {
            if set {
                class(name);
            }
        }
        out.push_str("\">");
    }

    /// Writes the end of what [`Style::open`] began.
    pub(super) fn close(self, out: &mut String) {
        if self != Self::default() {
            out.push_str("</span>");
        }
    }
}

/// The colour after 38 or 48: `5;n` or `2;r;g;b`.
fn extended(numbers: &mut impl Iterator<Item = u16>) -> Option<u8> {
    let byte = |number: u16| u8::try_from(number).ok();
    match numbers.next()? {
        5 => byte(numbers.next()?),
        2 => {
            let (red, green, blue) = (numbers.next()?, numbers.next()?, numbers.next()?);
            Some(palette::nearest(byte(red)?, byte(green)?, byte(blue)?))
        }
        _ => None,
    }
}

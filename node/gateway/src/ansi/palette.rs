//! The 256 colours of a terminal. The first 16 are the stylesheet's own, so that they fit the page;
//! the others have the values that terminals agree on.

use std::fmt::Write as _;

const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];

/// The entry of the colour cube or the grey ramp that is nearest to a colour.
pub(super) fn nearest(red: u8, green: u8, blue: u8) -> u8 {
    let level = |value: u8| -> u8 {
        let mut best = 0_u8;
        for (index, candidate) in (0_u8..).zip(LEVELS) {
            if value.abs_diff(candidate) < value.abs_diff(LEVELS[usize::from(best)]) {
                best = index;
            }
        }
        best
    };
    let cube = 16 + 36 * level(red) + 6 * level(green) + level(blue);
    let mean = (u16::from(red) + u16::from(green) + u16::from(blue)) / 3;
    let step = u8::try_from(mean.saturating_sub(3) / 10)
        .unwrap_or(23)
        .min(23);
    let grey = 232 + step;
    let distance = |index: u8| {
        let (r, g, b) = colour(index);
        let square = |a: u8, b: u8| u32::from(a.abs_diff(b)).pow(2);
        square(r, red) + square(g, green) + square(b, blue)
    };
    if distance(grey) < distance(cube) {
        grey
    } else {
        cube
    }
}

/// Red, green and blue of an entry from 16 on.
fn colour(index: u8) -> (u8, u8, u8) {
    if index >= 232 {
        let value = 8 + 10 * (index - 232);
        return (value, value, value);
    }
    let cube = index.saturating_sub(16);
    let level = |value: u8| LEVELS[usize::from(value % 6)];
    (level(cube / 36), level(cube / 6), level(cube))
}

/// Rules for the classes `f16` to `f255` and `b16` to `b255`.
pub(crate) fn stylesheet() -> String {
    let mut css = String::with_capacity(16 * 1024);
    for index in 16..=255_u8 {
        let (r, g, b) = colour(index);
        let _ = writeln!(
            css,
            ".f{index}{{color:#{r:02x}{g:02x}{b:02x}}}.b{index}{{background:#{r:02x}{g:02x}{b:02x}}}"
        );
    }
    css
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_their_own_nearest() {
        for index in 16..=255_u8 {
            let (r, g, b) = colour(index);
            assert_eq!(colour(nearest(r, g, b)), (r, g, b), "entry {index}");
        }
        assert_eq!(nearest(255, 0, 0), 196);
    }

    #[test]
    fn every_entry_has_its_rules() {
        let css = stylesheet();
        assert_eq!(css.lines().count(), 240);
        assert!(css.contains(".f196{color:#ff0000}"));
    }
}

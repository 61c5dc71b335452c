//! One entry of the kernel's list of foreign formats, as the kernel prints it. Pure.

use std::path::PathBuf;

/// What the kernel keeps of a program's beginning to compare with (`BINPRM_BUF_SIZE`).
const BEGINNING: usize = 256;
/// The flag with which the kernel opens the interpreter once, when it is registered.
const HELD_OPEN: char = 'F';

/// An entry that is on and judges by content. Others are of no interest here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) interpreter: PathBuf,
    /// By the kernel, for everybody.
    pub(super) held_open: bool,
    offset: usize,
    magic: Vec<u8>,
    /// As long as the magic.
    mask: Vec<u8>,
}

impl Entry {
    /// Reads the kernel's text. None for an entry that is off, that judges by the end of a name, or
    /// that is written in a way unknown here.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != "enabled" {
            return None;
        }
        let (mut interpreter, mut flags, mut offset, mut magic, mut mask) = Default::default();
        for line in lines {
            let (name, value) = line.split_once(' ').unwrap_or((line, ""));
            let known: &mut Option<&str> = match name {
                "interpreter" => &mut interpreter,
                "flags:" => &mut flags,
                "offset" => &mut offset,
                "magic" => &mut magic,
                "mask" => &mut mask,
                _ => return None,
            };
            // A path may hold a line's end and then say anything: what is told twice is not believed.
            if known.replace(value).is_some() {
                return None;
            }
        }
        let interpreter = PathBuf::from(interpreter?);
        let offset = offset?.parse().ok()?;
        let magic = bytes(magic?)?;
        let mask = mask.map_or(Some(vec![0xff; magic.len()]), bytes)?;
        let fits = |end: usize| end <= BEGINNING;
        let is_sound = interpreter.is_absolute()
            && !magic.is_empty()
            && mask.len() == magic.len()
            && magic.len().checked_add(offset).is_some_and(fits);
        is_sound.then_some(Self {
            interpreter,
            held_open: flags?.contains(HELD_OPEN),
            offset,
            magic,
            mask,
        })
    }

    /// Whether the kernel hands programs that begin so to the interpreter. Behind what is given, a
    /// program is taken to be zeros.
    pub(super) fn takes(&self, beginning: &[u8]) -> bool {
        let rule = self.magic.iter().zip(&self.mask);
        rule.enumerate().all(|(at, (magic, mask))| {
            let found = beginning.get(self.offset + at).unwrap_or(&0);
            (found ^ magic) & mask == 0
        })
    }
}

/// Pairs of hexadecimal digits.
fn bytes(text: &str) -> Option<Vec<u8>> {
    if text.len() > 2 * BEGINNING || !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.18 prints what Debian's qemu-user-static registers.
    const ARM64: &str = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\n\
         flags: POCF\noffset 0\nmagic 7f454c460201010000000000000000000200b700\n\
         mask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn the_kernel_s_text_is_read() {
        let entry = Entry::parse(ARM64).unwrap();
        let path = "/usr/libexec/qemu-binfmt/aarch64-binfmt-P";
        assert_eq!(entry.interpreter, PathBuf::from(path));
        assert!(entry.held_open);
        assert_eq!((entry.offset, entry.magic.len()), (0, 20));
        assert_eq!((entry.magic[18], entry.mask[16]), (0xb7, 0xfe));
    }

    #[test]
    fn a_mask_that_is_not_told_is_all_ones() {
        let text = "enabled\ninterpreter /bin/i\nflags: \noffset 3\nmagic 0a0B\n";
        let entry = Entry::parse(text).unwrap();
        assert!(!entry.held_open);
        assert!(entry.takes(&[9, 9, 9, 10, 11, 12]) && !entry.takes(&[9, 9, 9, 10, 12]));
        // What is not there is zero, here as in the kernel.
        assert!(!entry.takes(&[]));
    }

    #[test]
    fn a_mask_decides_which_bits_count() {
        let text = "enabled\ninterpreter /bin/i\nflags: F\noffset 0\nmagic 0201\nmask fe00\n";
        let entry = Entry::parse(text).unwrap();
        assert!(entry.takes(&[2, 7]) && entry.takes(&[3]) && !entry.takes(&[4, 1]));
    }

    #[test]
    fn what_is_off_or_goes_by_names_is_nothing() {
        assert_eq!(Entry::parse(&ARM64.replace("enabled", "disabled")), None);
        let by_name = "enabled\ninterpreter /bin/i\nflags: \nextension .jar\n";
        assert_eq!(Entry::parse(by_name), None);
    }

    #[test]
    fn odd_text_is_no_entry() {
        let whole = "enabled\ninterpreter /bin/i\nflags: F\noffset 0\nmagic 02\nmask ff\n";
        assert!(Entry::parse(whole).is_some());
        for (from, to) in [
            ("enabled\n", ""),
            ("/bin/i", "bin/i"),
            ("/bin/i", ""),
            ("interpreter /bin/i\n", ""),
            ("/bin/i", "/bin/i\nflags: F"),
            ("/bin/i", "/bin/i\nmagic 7f45"),
            ("flags: F\n", ""),
            ("offset 0", "offset -1"),
            ("offset 0", "offset 255\noffset 0"),
            ("offset 0", "offset 256"),
            ("offset 0", "offset 18446744073709551615"),
            ("offset 0", "offset 99999999999999999999"),
            ("magic 02", "magic "),
            ("magic 02", "magic 2"),
            ("magic 02", "magic 0g"),
            ("magic 02", "magic +2"),
            ("magic 02", "magic é"),
            ("mask ff", "mask ffff"),
            ("mask ff", "mask"),
            ("mask ff", "shape ff"),
        ] {
            let text = whole.replacen(from, to, 1);
            assert_eq!(Entry::parse(&text), None, "{text:?}");
        }
        let long = |bytes: usize| whole.replace("02\nmask ff", &"02".repeat(bytes));
        assert!(Entry::parse(&long(BEGINNING)).is_some());
        assert_eq!(Entry::parse(&long(BEGINNING + 1)), None);
        assert_eq!(Entry::parse(&"x".repeat(1 << 20)), None);
    }

    #[test]
    fn no_beginning_of_a_text_is_more_than_the_whole() {
        for end in 0..ARM64.len() {
            // Some are entries of less; none is one of another interpreter that is held open.
            if let Some(entry) = Entry::parse(&ARM64[..end]) {
                assert!(ARM64.contains(entry.interpreter.to_str().unwrap()));
            }
        }
    }
}

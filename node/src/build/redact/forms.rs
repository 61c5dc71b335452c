//! What a secret looks like in output: as it is, without the white space around it, line by line,
//! in base64 (also as part of something longer, and wrapped) and in URLs. Of a very large one, which
//! nobody puts into an address, less is looked for.

use data_encoding::{BASE64, BASE64URL, Encoding};
use zeroize::Zeroizing;

use super::SECRET_BYTES_MIN;

/// Shortest line of a secret of several lines that is looked for alone, bytes.
const LINE_BYTES_MIN: usize = 8;
/// Secrets above this are looked for as they are, line by line and in ordinary base64 only, bytes.
const LARGE_BYTES: usize = 32 * 1024;
/// Columns after which programs break base64: coreutils and MIME, OpenSSL and PEM.
const WRAPS: [usize; 2] = [76, 64];
/// How URLs are encoded: what stays as it is besides letters, digits, `-`, `_` and `.`; what becomes
/// of a space; the digits.
const URLS: [(&[u8], &str, &[u8; 16]); 7] = [
    // The standard, in capitals and not.
    (b"~", "%20", UPPER),
    (b"~", "%20", LOWER),
    // Fields of a form, and .NET's idea of them.
    (b"*", "+", UPPER),
    (b"!*'()", "+", LOWER),
    // JavaScript: parts of an address, whole addresses.
    (b"~!*'()", "%20", UPPER),
    (b"~!*'();/?:@&=+$,#", "%20", UPPER),
    // Python and others: paths.
    (b"~/", "%20", UPPER),
];
const UPPER: &[u8; 16] = b"0123456789ABCDEF";
const LOWER: &[u8; 16] = b"0123456789abcdef";

/// All forms of a value; some of them may be equal.
pub(super) fn of(value: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let mut forms: Vec<Zeroizing<Vec<u8>>> = Vec::new();
    let trimmed = value.trim_ascii();
    add_all(&mut forms, value);
    // What a shell substitutes has no line feed at its end, what it pipes has.
    if trimmed.len() < value.len() {
        add_all(&mut forms, trimmed);
    }
    for line in trimmed.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        if line.len() >= LINE_BYTES_MIN {
            add(&mut forms, line);
        }
    }
    forms
}

fn add_all(forms: &mut Vec<Zeroizing<Vec<u8>>>, value: &[u8]) {
    let large = value.len() > LARGE_BYTES;
    add(forms, value);
    for before in 0..3 {
        add_base64(forms, &BASE64, value, before);
    }
    add_wrapped(
        forms,
        &BASE64,
        value,
        if large { &WRAPS[..1] } else { &WRAPS },
    );
    if large {
        return;
    }
    for before in 0..3 {
        add_base64(forms, &BASE64URL, value, before);
    }
    for (safe, space, digits) in URLS {
        add(forms, &percent(value, safe, space, digits));
    }
}

fn add(forms: &mut Vec<Zeroizing<Vec<u8>>>, form: &[u8]) {
    if form.len() >= SECRET_BYTES_MIN {
        forms.push(Zeroizing::new(form.to_vec()));
    }
}

/// The characters that tell of `value` where `before` bytes come before it in its group of three.
/// Characters that it shares with what is before or after it are not among them, as they can be
/// any; that it ends the text is looked for as well.
fn add_base64(
    forms: &mut Vec<Zeroizing<Vec<u8>>>,
    encoding: &Encoding,
    value: &[u8],
    before: usize,
) {
    let mut bytes = Zeroizing::new(Vec::with_capacity(before + value.len()));
    bytes.resize(before, 0);
    bytes.extend_from_slice(value);
    let text = Zeroizing::new(encoding.encode(&bytes));
    let text = text.as_bytes();
    let from = (before * 8).div_ceil(6);
    add(forms, &text[from..]);
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    add(forms, &text[from..text.len() - padding]);
    add(forms, &text[from..bytes.len() * 8 / 6]);
}

/// The lines of base64 of `value` alone, as the programs that break it do.
fn add_wrapped(
    forms: &mut Vec<Zeroizing<Vec<u8>>>,
    encoding: &Encoding,
    value: &[u8],
    wraps: &[usize],
) {
    let text = Zeroizing::new(encoding.encode(value));
    for columns in wraps.iter().filter(|columns| text.len() > **columns) {
        let lines = text.as_bytes().chunks(*columns);
        let lines = lines.filter(|line| line.len() >= LINE_BYTES_MIN);
        lines.for_each(|line| add(forms, line));
    }
}

fn percent(value: &[u8], safe: &[u8], space: &str, digits: &[u8; 16]) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(3 * value.len()));
    for byte in value {
        let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
        match byte {
            b'-' | b'_' | b'.' => text.push(*byte),
            byte if byte.is_ascii_alphanumeric() || safe.contains(byte) => text.push(*byte),
            b' ' => text.extend_from_slice(space.as_bytes()),
            _ => text.extend_from_slice(&[b'%', digits[high], digits[low]]),
        }
    }
    text
}

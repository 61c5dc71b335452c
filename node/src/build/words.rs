//! The words of a failure: the few lines of a log that say what went wrong. A compiler's own
//! message is better than "exited with 2".

/// Lines of a failure's words at most.
const LINES_MAX: usize = 30;
/// Characters of one line at most.
const LINE_CHARS_MAX: usize = 300;

/// The lines of `log` that say what went wrong, as far as a reader of logs can tell: from the first
/// compiler message, failed test or error of the tool on, else the last lines.
#[must_use]
pub(crate) fn of_failure(log: &str) -> String {
    let plain = strip_escapes(log);
    let lines: Vec<&str> = plain
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let first = lines.iter().position(|line| tells(line));
    let shown: Vec<&str> = match first {
        Some(at) => lines[at..].iter().copied().take(LINES_MAX).collect(),
        None => lines[lines.len().saturating_sub(LINES_MAX / 3)..].to_vec(),
    };
    let cut = shown
        .iter()
        .map(|line| line.chars().take(LINE_CHARS_MAX).collect::<String>());
    cut.collect::<Vec<_>>().join("\n")
}

/// Whether a line begins a message about what went wrong.
fn tells(line: &str) -> bool {
    let line = line.trim_start_matches(['#', '-', '+', ' ', '>']);
    (line.starts_with("File \"") && line.contains("line"))
        || [
            "Error:",
            "[ERROR]",
            "Fatal error",
            "FAIL",
            "[FAIL]",
            "error:",
            "make: ***",
            "Error in",
        ]
        .iter()
        .any(|mark| line.starts_with(mark))
        || line.contains(": error: ")
        || line.contains("fatal error: ")
        || line.contains("[FAIL]")
}

fn strip_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(char) = rest.next() {
        match char {
            '\u{1b}' => {
                if rest.next_if_eq(&'[').is_some() {
                    while rest.next().is_some_and(|char| !('@'..='~').contains(&char)) {}
                }
            }
            '\n' | '\t' => plain.push(char),
            '\r' => {}
            char if char.is_control() => plain.push('\u{fffd}'),
            char => plain.push(char),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compilers_own_words_come_first() {
        let log = "building\n\u{1b}[1mFile \"a.ml\", line 3, characters 4-5:\u{1b}[0m\n3 | x\n        ^\nError: Unbound value x\nmake: *** [all] Error 2\n";
        let words = of_failure(log);
        assert!(words.starts_with("File \"a.ml\", line 3"), "{words}");
        assert!(words.contains("Error: Unbound value x"), "{words}");
        assert!(!words.contains('\u{1b}'));
    }

    #[test]
    fn a_log_without_known_words_gives_its_end() {
        let log = (0..100).map(|n| format!("line {n}\n")).collect::<String>();
        let words = of_failure(&log);
        assert!(
            words.ends_with("line 99") && !words.contains("line 1\n"),
            "{words}"
        );
        assert_eq!(of_failure(""), "");
    }
}

//! The words of a failure: the few lines of a log that say what went wrong. A compiler's own
//! message is better than "exited with 2".

use caravan_protocol::action::Limits;
use caravan_sandbox::Limit;

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

/// What a step is said to have failed of that has met one of its bounds.
#[must_use]
pub(super) fn of_limit(limit: Limit, limits: &Limits) -> String {
    let memory = || amount(limits.memory_bytes);
    let disk = || amount(limits.disk_bytes);
    match limit {
        Limit::Memory => format!("it used more memory than the {} it may", memory()),
        Limit::Pids => format!("it started more processes than the {} it may", limits.pids),
        Limit::WallClock => format!("it took longer than the {} it may", seconds(limits.wall_ms)),
        Limit::Disk => format!("it took more room on the disk than the {} it may", disk()),
        Limit::Inodes => format!("it made more files than the {} it may", limits.inodes),
        Limit::Room => format!("the disk has no room for the {} it may take", disk()),
        Limit::Cpu => format!(
            "it used more processor time than the {} it may",
            seconds(limits.cpu_ms)
        ),
        Limit::Output => printed_too_much(limits.log_bytes),
    }
}

/// What a step is said to have failed of that has printed more than this.
pub(super) fn printed_too_much(max: u64) -> String {
    format!("it printed more than the {} it may", amount(max))
}

fn amount(bytes: u64) -> String {
    match (bytes >> 20, bytes % (1 << 20)) {
        (mebibytes @ 1.., 0) => format!("{mebibytes} MiB"),
        _ => format!("{bytes} bytes"),
    }
}

fn seconds(ms: u64) -> String {
    match (ms / 1000, ms % 1000) {
        (seconds @ 1.., 0) => format!("{seconds} s"),
        _ => format!("{ms} ms"),
    }
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
    fn every_bound_is_named_with_its_figure() {
        let limits = Limits {
            wall_ms: 1500,
            memory_bytes: 5 << 20,
            disk_bytes: 7 << 20,
            log_bytes: 1000,
            inodes: 33,
            pids: 44,
            cpu_ms: 6000,
        };
        for (limit, figure) in [
            (Limit::Memory, "5 MiB"),
            (Limit::Pids, "44"),
            (Limit::WallClock, "1500 ms"),
            (Limit::Disk, "7 MiB"),
            (Limit::Inodes, "33"),
            (Limit::Cpu, "6 s"),
            (Limit::Output, "1000 bytes"),
            (Limit::Room, "7 MiB"),
        ] {
            let words = of_limit(limit, &limits);
            assert!(words.contains(&format!(" {figure} ")), "{words}");
        }
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

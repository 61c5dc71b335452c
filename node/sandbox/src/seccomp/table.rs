//! A filter by number alone, as a binary search.
//!
//! The kernel runs a new filter once for every system call that it knows, to learn which are
//! always allowed: with one comparison per call on a list of hundreds, that took longer than all
//! mounts of a job. Owns nothing.

use seccompiler::{BpfProgram, sock_filter};

/// Loads a word of what the kernel tells about a call.
const LOAD: u16 = 0x20;
/// Jumps by a comparison with equality, by one with at-least, always.
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP: u16 = 0x05;
const RETURN: u16 = 0x06;
/// Where the number and the architecture are.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const KILL_PROCESS: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    /// Known and not wanted.
    Refuse,
    /// As if this kernel had never heard of it, so that C libraries fall back.
    Unknown,
}

impl Verdict {
    fn code(self) -> u32 {
        match self {
            Self::Allow => 0x7fff_0000,
            Self::Refuse => ERRNO | libc::EPERM as u32,
            Self::Unknown => ERRNO | libc::ENOSYS as u32,
        }
    }
}

/// Calls from this number up to the next entry's.
type Segment = (u32, Verdict);

/// Compiles both lists for one architecture; calls of any other end the process.
pub(super) fn compile(architecture: u32, allowed: &[i64], refused: &[i64]) -> BpfProgram {
    let mut program = vec![
        instruction(LOAD, 0, 0, ARCHITECTURE),
        instruction(JUMP_EQUAL, 1, 0, architecture),
        instruction(RETURN, 0, 0, KILL_PROCESS),
        instruction(LOAD, 0, 0, NUMBER),
    ];
    search(&segments(allowed, refused), &mut program);
    program
}

fn segments(allowed: &[i64], refused: &[i64]) -> Vec<Segment> {
    let marked = |calls: &[i64], verdict| -> Vec<Segment> {
        calls
            .iter()
            .filter_map(|call| u32::try_from(*call).ok())
            .map(|n| (n, verdict))
            .collect()
    };
    let mut calls = marked(allowed, Verdict::Allow);
    calls.extend(marked(refused, Verdict::Refuse));
    calls.sort_unstable_by_key(|(number, _)| *number);
    let mut segments: Vec<Segment> = vec![(0, Verdict::Unknown)];
    let mut next = 0;
    for (number, verdict) in calls {
        if number > next {
            push(&mut segments, (next, Verdict::Unknown));
        }
        push(&mut segments, (number, verdict));
        next = number + 1;
    }
    push(&mut segments, (next, Verdict::Unknown));
    segments
}

fn push(segments: &mut Vec<Segment>, (start, verdict): Segment) {
    match segments.last_mut() {
        Some(last) if last.1 == verdict => {}
        Some(last) if last.0 == start => last.1 = verdict,
        _ => segments.push((start, verdict)),
    }
}

fn search(segments: &[Segment], program: &mut BpfProgram) {
    let [(_, verdict)] = segments else {
        let (lower, upper) = segments.split_at(segments.len() / 2);
        let mut first = BpfProgram::new();
        search(lower, &mut first);
        program.push(instruction(JUMP_AT_LEAST, 0, 1, upper[0].0));
        // A conditional jump reaches 255 instructions, this one any.
        let over = u32::try_from(first.len()).expect("a filter has at most 4096 instructions");
        program.push(instruction(JUMP, 0, 0, over));
        program.append(&mut first);
        search(upper, program);
        return;
    };
    program.push(instruction(RETURN, 0, 0, verdict.code()));
}

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's reading of the few instructions used here.
    fn run(program: &BpfProgram, architecture: u32, number: u32) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let now = &program[at];
            at += 1;
            match now.code {
                LOAD => {
                    value = if now.k == NUMBER {
                        number
                    } else {
                        architecture
                    }
                }
                JUMP => at += now.k as usize,
                RETURN => return now.k,
                JUMP_EQUAL => at += usize::from(if value == now.k { now.jt } else { now.jf }),
                JUMP_AT_LEAST => at += usize::from(if value >= now.k { now.jt } else { now.jf }),
                other => panic!("instruction {other}"),
            }
        }
    }

    #[test]
    fn every_number_gets_the_verdict_of_its_list() {
        let (allowed, refused) = ([0, 1, 2, 7, 9, 400], [3, 8, 399, 401]);
        let program = compile(62, &allowed, &refused);
        for number in (0..500).chain([0x4000_0000, 0x4000_0001, u32::MAX]) {
            let wanted = if allowed.contains(&number.into()) {
                Verdict::Allow
            } else if refused.contains(&number.into()) {
                Verdict::Refuse
            } else {
                Verdict::Unknown
            };
            assert_eq!(run(&program, 62, number), wanted.code(), "{number}");
        }
        assert_eq!(run(&program, 63, 0), KILL_PROCESS);
    }

    #[test]
    fn the_real_lists_are_found_in_few_steps() {
        use crate::seccomp::lists::{ALLOWED, DENIED};
        let program = compile(62, ALLOWED, DENIED);
        assert!(program.len() < 700, "{}", program.len());
        for call in ALLOWED {
            let number = u32::try_from(*call).unwrap();
            assert_eq!(run(&program, 62, number), Verdict::Allow.code(), "{call}");
        }
    }
}

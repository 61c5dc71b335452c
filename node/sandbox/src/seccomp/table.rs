//! One filter as a binary search by number, with what is asked of the arguments of a few.
//!
//! The kernel runs a new filter once for every system call that it knows, to learn which are
//! always allowed, and translates it into the processor's own code: with one comparison per call on
//! a list of hundreds, or with a second filter for the arguments, that took longer than most mounts
//! of a job. Owns nothing.

use libc::sock_filter;

/// A program of the kernel's filters.
pub(crate) type Program = Vec<sock_filter>;

/// Loads a word of what the kernel tells about a call, and takes bits of it.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
/// Jumps by a comparison with equality, by one with at-least, always.
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP: u16 = 0x05;
const RETURN: u16 = 0x06;
/// Where the number, the architecture and the lower half of the first argument are: behind the upper
/// half on processors that put that first.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = if cfg!(target_endian = "big") { 20 } else { 16 };
const ARGUMENT_SIZE: u32 = 8;
const KILL_PROCESS: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;
const ALLOW: u32 = 0x7fff_0000;

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    /// Known and not wanted.
    Refuse,
    /// Succeeds, and nothing is done.
    Idle,
    /// As on a file system that cannot.
    Unsupported,
    /// As if this kernel had never heard of it, so that C libraries fall back.
    Unknown,
    /// Allowed if all tests of one of these lines hold, else this error.
    Asked(Vec<Vec<Test>>, i32),
    /// Allowed unless all tests of one of these lines hold: then that line's error.
    Unless(Vec<(Vec<Test>, i32)>),
}

/// Whether the lower half of an argument, which is all that the kernel takes of those that are asked
/// about, is one of some values once it is masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Test {
    pub(super) argument: u8,
    pub(super) mask: u32,
    pub(super) values: Vec<u32>,
    /// Or is none of them.
    pub(super) among: bool,
}

impl Verdict {
    fn write(&self, program: &mut Program) {
        let code = match self {
            Self::Allow => ALLOW,
            Self::Refuse => ERRNO | libc::EPERM as u32,
            Self::Idle => ERRNO,
            Self::Unsupported => ERRNO | libc::EOPNOTSUPP as u32,
            Self::Unknown => ERRNO | libc::ENOSYS as u32,
            Self::Asked(lines, errno) => {
                for line in lines {
                    write_line(line, ALLOW, program);
                }
                ERRNO | *errno as u32
            }
            Self::Unless(lines) => {
                for (line, errno) in lines {
                    write_line(line, ERRNO | *errno as u32, program);
                }
                ALLOW
            }
        };
        program.push(instruction(RETURN, 0, 0, code));
    }
}

/// Answers with `code` if all tests hold, and goes on behind itself if one does not.
fn write_line(line: &[Test], code: u32, program: &mut Program) {
    // Every test that fails jumps here, to where its length is known.
    let mut failures = Vec::new();
    for test in line {
        let argument = ARGUMENTS + ARGUMENT_SIZE * u32::from(test.argument);
        program.push(instruction(LOAD, 0, 0, argument));
        if test.mask != u32::MAX {
            program.push(instruction(AND, 0, 0, test.mask));
        }
        let mut left = u8::try_from(test.values.len()).expect("a test has few values");
        for value in &test.values {
            left -= 1;
            if test.among {
                // Over the other values, and over the jump of a failure.
                program.push(instruction(JUMP_EQUAL, left + 1, 0, *value));
            } else {
                program.push(instruction(JUMP_EQUAL, 0, 1, *value));
                failures.push(program.len());
                program.push(instruction(JUMP, 0, 0, 0));
            }
        }
        if test.among {
            failures.push(program.len());
            program.push(instruction(JUMP, 0, 0, 0));
        }
    }
    program.push(instruction(RETURN, 0, 0, code));
    for at in failures {
        let over = program.len() - at - 1;
        program[at].k = u32::try_from(over).expect("a line is short");
    }
}

/// Numbers, and what becomes of them.
pub(super) type List<'a> = (&'a [i64], Verdict);

/// Compiles the lists for one architecture; calls of any other end the process. What stands in a
/// later list as well is of the later.
pub(super) fn compile(architecture: u32, lists: &[List<'_>]) -> Program {
    let mut program = vec![
        instruction(LOAD, 0, 0, ARCHITECTURE),
        instruction(JUMP_EQUAL, 1, 0, architecture),
        instruction(RETURN, 0, 0, KILL_PROCESS),
        instruction(LOAD, 0, 0, NUMBER),
    ];
    search(&segments(lists), &mut program);
    program
}

/// Calls from this number up to the next entry's.
type Segment<'a> = (u32, &'a Verdict);

fn segments<'a>(lists: &'a [List<'_>]) -> Vec<Segment<'a>> {
    let mut calls = std::collections::BTreeMap::new();
    for (numbers, verdict) in lists {
        let numbers = numbers.iter().filter_map(|call| u32::try_from(*call).ok());
        calls.extend(numbers.map(|number| (number, verdict)));
    }
    let mut segments: Vec<Segment<'_>> = vec![(0, &Verdict::Unknown)];
    let mut next = 0;
    for (number, verdict) in calls {
        if number > next {
            push(&mut segments, (next, &Verdict::Unknown));
        }
        push(&mut segments, (number, verdict));
        next = number + 1;
    }
    push(&mut segments, (next, &Verdict::Unknown));
    segments
}

fn push<'a>(segments: &mut Vec<Segment<'a>>, (start, verdict): Segment<'a>) {
    match segments.last_mut() {
        Some(last) if last.1 == verdict => {}
        Some(last) if last.0 == start => last.1 = verdict,
        _ => segments.push((start, verdict)),
    }
}

fn search(segments: &[Segment<'_>], program: &mut Program) {
    let [(_, verdict)] = segments else {
        let (lower, upper) = segments.split_at(segments.len() / 2);
        let mut first = Program::new();
        search(lower, &mut first);
        program.push(instruction(JUMP_AT_LEAST, 0, 1, upper[0].0));
        // A conditional jump reaches 255 instructions, this one any.
        let over = u32::try_from(first.len()).expect("a filter has at most 4096 instructions");
        program.push(instruction(JUMP, 0, 0, over));
        program.append(&mut first);
        search(upper, program);
        return;
    };
    verdict.write(program);
}

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// The kernel's reading of the few instructions used here.
#[cfg(test)]
pub(super) fn run(program: &[sock_filter], architecture: u32, number: u32, args: [u64; 6]) -> u32 {
    let (mut at, mut value) = (0, 0);
    loop {
        let now = program[at];
        at += 1;
        match now.code {
            LOAD => {
                value = match now.k {
                    NUMBER => number,
                    ARCHITECTURE => architecture,
                    other => {
                        let (index, rest) =
                            (other - ARGUMENTS, (other - ARGUMENTS) % ARGUMENT_SIZE);
                        assert_eq!(rest, 0);
                        args[(index / ARGUMENT_SIZE) as usize] as u32
                    }
                }
            }
            AND => value &= now.k,
            JUMP => at += now.k as usize,
            RETURN => return now.k,
            JUMP_EQUAL => at += usize::from(if value == now.k { now.jt } else { now.jf }),
            JUMP_AT_LEAST => at += usize::from(if value >= now.k { now.jt } else { now.jf }),
            other => panic!("instruction {other}"),
        }
    }
}

/// What a filter answers for a call that goes through, and for one that fails with an error.
#[cfg(test)]
pub(super) fn answer(errno: Option<i32>) -> u32 {
    errno.map_or(ALLOW, |errno| ERRNO | errno as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_ARGS: [u64; 6] = [0; 6];

    #[test]
    fn every_number_gets_the_verdict_of_its_list() {
        let (allowed, refused, idle) = ([0, 1, 2, 7, 9, 400], [3, 8, 399, 401], [4]);
        let lists: [List<'_>; 3] = [
            (&allowed, Verdict::Allow),
            (&refused, Verdict::Refuse),
            (&idle, Verdict::Idle),
        ];
        let program = compile(62, &lists);
        for number in (0..500).chain([0x4000_0000, 0x4000_0001, u32::MAX]) {
            let wanted = if allowed.contains(&number.into()) {
                None
            } else if refused.contains(&number.into()) {
                Some(libc::EPERM)
            } else if idle.contains(&number.into()) {
                Some(0)
            } else {
                Some(libc::ENOSYS)
            };
            let got = run(&program, 62, number, NO_ARGS);
            assert_eq!(got, answer(wanted), "{number}");
        }
        assert_eq!(run(&program, 63, 0, NO_ARGS), KILL_PROCESS);
    }

    #[test]
    fn a_line_holds_when_all_its_tests_do_and_one_line_is_enough() {
        let test = |argument, mask, values: &[u32], among| Test {
            argument,
            mask,
            values: values.to_vec(),
            among,
        };
        let lines = vec![
            vec![
                test(0, u32::MAX, &[1, 2], true),
                test(1, 0xf, &[3, 5], false),
            ],
            vec![test(5, 0xf0, &[0x20], true)],
        ];
        let lists: [List<'_>; 2] = [
            (&[6, 7, 8], Verdict::Allow),
            (&[7], Verdict::Asked(lines, libc::EBUSY)),
        ];
        let program = compile(62, &lists);
        for (first, second, sixth) in (0..4_u64)
            .flat_map(|a| (0..32_u64).map(move |b| (a, b)))
            .flat_map(|(a, b)| [0, 0x2f, 0x30, 1 << 33].map(|c| (a, b, c)))
        {
            let holds = [1, 2].contains(&first) && ![3, 5].contains(&(second & 0xf));
            let wanted = (!holds && sixth & 0xf0 != 0x20).then_some(libc::EBUSY);
            // What is above the lower half is not looked at.
            let args = [first | 7 << 32, second, 0, 0, 0, sixth];
            let got = run(&program, 62, 7, args);
            assert_eq!(got, answer(wanted), "{args:?}");
            assert_eq!(run(&program, 62, 8, args), answer(None));
        }
    }
}

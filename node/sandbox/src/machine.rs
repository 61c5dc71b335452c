//! Processors, as the heads of programs name them, and the smallest program for each.
//!
//! The program ends at once with [`CODE`]: a job that needs no base, and a way to see that an
//! emulator runs. Made here of a dozen instructions, so that nothing of the host is run inside. Pure.

/// What the programs end with.
pub(crate) const CODE: u8 = 42;
/// Kinds of a program: at the addresses that it says, and anywhere.
pub(crate) const FIXED: u16 = 2;
pub(crate) const MOVABLE: u16 = 3;
/// Sizes of the two heads that a kernel reads.
const FIRST_HEAD: u16 = 64;
const SECOND_HEAD: u16 = 56;

/// A processor of 64 bits that Debian and OCaml know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    /// Rust's name.
    pub(crate) name: &'static str,
    /// opam's.
    pub(crate) arch: &'static str,
    /// In the head of a program.
    number: u16,
    order: Order,
    /// What the head says of calling conventions.
    flags: u32,
    /// The call `exit` with [`CODE`].
    code: &'static [u8],
}

/// Which byte of a number is first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

/// The number of `exit` and its argument, and the call.
pub(crate) const MACHINES: [Machine; 5] = [
    Machine {
        name: "x86_64",
        arch: "x86_64",
        number: 62,
        order: Order::Little,
        flags: 0,
        code: &[0xb8, 60, 0, 0, 0, 0xbf, CODE, 0, 0, 0, 0x0f, 0x05],
    },
    Machine {
        name: "aarch64",
        arch: "arm64",
        number: 183,
        order: Order::Little,
        flags: 0,
        // mov x0, CODE; mov x8, 93; svc 0
        code: &[
            (CODE & 7) << 5,
            CODE >> 3,
            0x80,
            0xd2,
            0xa8,
            0x0b,
            0x80,
            0xd2,
            0x01,
            0x00,
            0x00,
            0xd4,
        ],
    },
    Machine {
        name: "riscv64",
        arch: "riscv64",
        number: 243,
        order: Order::Little,
        flags: 0,
        // li a0, CODE; li a7, 93; ecall
        code: &[
            0x13,
            0x05,
            (CODE & 0xf) << 4,
            CODE >> 4,
            0x93,
            0x08,
            0xd0,
            0x05,
            0x73,
            0x00,
            0x00,
            0x00,
        ],
    },
    Machine {
        name: "powerpc64",
        arch: "ppc64",
        number: 21,
        order: Order::Little,
        // The second convention, of all that are little-endian.
        flags: 2,
        // li r0, 1; li r3, CODE; sc
        code: &[
            0x01, 0x00, 0x00, 0x38, CODE, 0x00, 0x60, 0x38, 0x02, 0x00, 0x00, 0x44,
        ],
    },
    Machine {
        name: "s390x",
        arch: "s390x",
        number: 22,
        order: Order::Big,
        flags: 0,
        // lghi %r2, CODE; svc 1
        code: &[0xa7, 0x29, 0x00, CODE, 0x0a, 0x01],
    },
];

impl Machine {
    /// The one that this program was built for.
    pub(crate) fn here() -> Option<&'static Self> {
        MACHINES.iter().find(|machine| machine.is_here())
    }

    /// Whether this program was built for it.
    pub(crate) fn is_here(&self) -> bool {
        let order = if cfg!(target_endian = "big") {
            Order::Big
        } else {
            Order::Little
        };
        self.name == std::env::consts::ARCH && self.order == order
    }

    /// A whole program.
    pub(crate) fn program(&self) -> Vec<u8> {
        let mut bytes = self.headers(FIXED);
        bytes.extend(self.code);
        bytes
    }

    /// What a program of a kind begins with.
    pub(crate) fn headers(&self, kind: u16) -> Vec<u8> {
        const START: u64 = 0x40_0000;
        const PAGE: u64 = 0x1_0000;
        let heads = FIRST_HEAD + SECOND_HEAD;
        let size = u64::from(heads) + self.code.len() as u64;
        let mut head = Head {
            bytes: b"\x7fELF\x02".to_vec(),
            order: self.order,
        };
        let order = match self.order {
            Order::Little => 1,
            Order::Big => 2,
        };
        head.bytes.extend([order, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        head.halves(&[kind, self.number]);
        head.words(&[1]);
        // Where it starts; where the second head is; no table of sections.
        head.longs(&[START + u64::from(heads), FIRST_HEAD.into(), 0]);
        head.words(&[self.flags]);
        // The heads' sizes, and that there is one of the second kind.
        head.halves(&[FIRST_HEAD, SECOND_HEAD, 1, 64, 0, 0]);
        // To be loaded, readable and executable: all of the file.
        head.words(&[1, 5]);
        head.longs(&[0, START, START, size, size, PAGE]);
        head.bytes
    }
}

/// Numbers, written one after the other.
struct Head {
    bytes: Vec<u8>,
    order: Order,
}

impl Head {
    fn halves(&mut self, values: &[u16]) {
        for value in values {
            self.put(value.to_be_bytes());
        }
    }

    fn words(&mut self, values: &[u32]) {
        for value in values {
            self.put(value.to_be_bytes());
        }
    }

    fn longs(&mut self, values: &[u64]) {
        for value in values {
            self.put(value.to_be_bytes());
        }
    }

    fn put<const N: usize>(&mut self, mut number: [u8; N]) {
        if self.order == Order::Little {
            number.reverse();
        }
        self.bytes.extend(number);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

    use super::*;

    #[test]
    fn the_program_runs_on_this_machine() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("try");
        fs::write(&path, Machine::here().unwrap().program()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let status = Command::new(path).status().unwrap();
        assert_eq!(status.code(), Some(CODE.into()));
    }

    #[test]
    fn every_program_has_heads_of_the_size_that_they_tell() {
        for machine in MACHINES {
            let heads = machine.headers(FIXED);
            assert_eq!(heads.len(), usize::from(FIRST_HEAD + SECOND_HEAD));
            let mut other = machine.headers(MOVABLE);
            let kind = if machine.order == Order::Big { 17 } else { 16 };
            assert_eq!((heads[kind], other[kind]), (2, 3), "{}", machine.name);
            other[kind] = 2;
            assert_eq!(heads, other);
        }
        // As `file` and every linker have it: byte order, kind, machine, version.
        let s390x = MACHINES.iter().find(|m| m.arch == "s390x").unwrap();
        assert_eq!(s390x.program()[4..7], [2, 2, 1]);
        assert_eq!(s390x.program()[16..24], [0, 2, 0, 22, 0, 0, 0, 1]);
    }
}

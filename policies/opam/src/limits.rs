//! Every bound of this crate in one place. All of them are far above what real packages need and
//! small enough that a hostile file costs neither the stack nor much memory or time.

/// Bytes of one opam file; the largest real one has about 60 KiB.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// Nesting of lists, groups, options, operators and sections; real files stay below 10.
pub const NESTING_MAX: usize = 64;

/// Characters of a package name or of a version.
pub const IDENTIFIER_CHARS_MAX: usize = 256;

/// Clauses that one dependency formula may become in conjunctive normal form, and the alternatives
/// of one clause. Real formulas stay below 100.
pub const CLAUSES_MAX: usize = 1024;

/// Packages of different names that one solve may meet in one conflict class.
pub const CONFLICT_CLASS_MEMBERS_MAX: usize = 64;

/// Propagation rounds of one solve before it is given up; hard real requests need some thousands.
pub const SOLVE_ROUNDS_MAX: u64 = 1_000_000;

/// Lines of the solver's own explanation that are kept in an error.
pub const EXPLANATION_LINES_MAX: usize = 60;

/// Faults that are listed in an error.
pub const FAULTS_MAX: usize = 8;

/// Files in the `files/` directory of one package; real packages have at most some tens.
pub const EXTRA_FILES_MAX: usize = 4096;

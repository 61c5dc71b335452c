//! Which system calls a job may make.
//!
//! Three filters, made once by the helper; the strictest answer holds. The first looks at the
//! number alone: what is on the list passes, what is known and not wanted gets `EPERM` for a clear
//! error, everything else gets `ENOSYS`, so that C libraries fall back to older calls. The others
//! look at the arguments of a few. Never depends on the job.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};
use thiserror::Error;

mod lists;
mod table;

/// New namespaces, as flags of `clone` and `unshare`.
const NAMESPACE_FLAGS: u64 = 0x7e02_0080;
/// `personality` values that change nothing of weight: native, 32 bits, fixed addresses, query.
const PERSONALITIES: [u64; 6] = [0, 0x8, 0x2_0000, 0x2_0008, 0x4_0000, 0xffff_ffff];
/// Mask of a socket's type without its flags.
const SOCKET_TYPE: u64 = 0xf;
/// Terminal requests that write into another's input.
const TERMINAL_WRITES: [u64; 2] = [libc::TIOCSTI, libc::TIOCLINUX];

/// The kernel's numbers of processors (`AUDIT_ARCH_*`).
const ARCHITECTURES: [(&str, u32); 3] = [
    ("x86_64", 0xc000_003e),
    ("aarch64", 0xc000_00b7),
    ("riscv64", 0xc000_00f3),
];

/// Why no filter could be made.
#[derive(Debug, Error)]
pub(crate) enum FilterError {
    /// This processor is unknown to the compiler of filters.
    #[error("filter system calls on {0}: only x86_64, aarch64 and riscv64 are known")]
    Architecture(&'static str),
    /// The lists make no valid filter.
    #[error("compile the system call filter")]
    Compile(#[from] seccompiler::BackendError),
}

/// The compiled filters, in the order of their installation.
#[derive(Debug, Clone)]
pub(crate) struct Filters(pub(crate) [BpfProgram; 3]);

impl Filters {
    /// Compiles for the processor this program was built for.
    pub(crate) fn compile() -> Result<Self, FilterError> {
        let name = std::env::consts::ARCH;
        let unknown = || FilterError::Architecture(name);
        let arch = TargetArch::try_from(name).map_err(|_| unknown())?;
        let known = ARCHITECTURES.iter().find(|(known, _)| *known == name);
        let (_, number) = known.ok_or_else(unknown)?;
        let refuse = |rules: Rules, errno: i32| -> Result<BpfProgram, FilterError> {
            let refused = SeccompAction::Errno(errno as u32);
            Ok(SeccompFilter::new(rules, SeccompAction::Allow, refused, arch)?.try_into()?)
        };
        Ok(Self([
            table::compile(*number, lists::ALLOWED, lists::DENIED),
            refuse(refused_flags()?, libc::EPERM)?,
            // As a kernel without that family: `groupadd` gives up on any other answer when it
            // looks for the audit system.
            refuse(refused_sockets()?, libc::EAFNOSUPPORT)?,
        ]))
    }
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn refused_flags() -> Result<Rules, FilterError> {
    let spaces: Vec<SeccompRule> = (0..u64::BITS)
        .map(|bit| 1 << bit)
        .filter(|flag| NAMESPACE_FLAGS & flag != 0)
        .map(|flag| when(&[(0, SeccompCmpOp::MaskedEq(flag), flag)]))
        .collect::<Result<_, _>>()?;
    Ok(Rules::from([
        (libc::SYS_clone, spaces.clone()),
        (libc::SYS_unshare, spaces),
        (libc::SYS_ioctl, terminal_writes()?),
        (libc::SYS_personality, vec![none_of(0, &PERSONALITIES)?]),
    ]))
}

fn refused_sockets() -> Result<Rules, FilterError> {
    let unix = libc::AF_UNIX as u64;
    Ok(Rules::from([
        (libc::SYS_socket, sockets()?),
        (libc::SYS_socketpair, vec![none_of(0, &[unix])?]),
    ]))
}

fn terminal_writes() -> Result<Vec<SeccompRule>, FilterError> {
    TERMINAL_WRITES
        .iter()
        .map(|cmd| when(&[(1, SeccompCmpOp::Eq, *cmd)]))
        .collect()
}

/// Refused: every family but local, internet and netlink; raw internet sockets; and of netlink
/// all but routes, which C libraries ask for the list of interfaces.
fn sockets() -> Result<Vec<SeccompRule>, FilterError> {
    let [unix, v4, v6] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6].map(|f| f as u64);
    let netlink = libc::AF_NETLINK as u64;
    let kind = SeccompCmpOp::MaskedEq(SOCKET_TYPE);
    let raw = libc::SOCK_RAW as u64;
    let route = libc::NETLINK_ROUTE as u64;
    Ok(vec![
        none_of(0, &[unix, v4, v6, netlink])?,
        when(&[(0, SeccompCmpOp::Eq, v4), (1, kind.clone(), raw)])?,
        when(&[(0, SeccompCmpOp::Eq, v6), (1, kind, raw)])?,
        when(&[(0, SeccompCmpOp::Eq, netlink), (2, SeccompCmpOp::Ne, route)])?,
    ])
}

fn none_of(arg: u8, values: &[u64]) -> Result<SeccompRule, FilterError> {
    let all: Vec<_> = values
        .iter()
        .map(|value| (arg, SeccompCmpOp::Ne, *value))
        .collect();
    when(&all)
}

/// Holds when all conditions hold. The kernel takes these arguments as 32 bits.
fn when(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, FilterError> {
    let conditions = conditions
        .iter()
        .map(|(arg, op, value)| SeccompCondition::new(*arg, Dword, op.clone(), *value))
        .collect::<Result<_, _>>()?;
    Ok(SeccompRule::new(conditions)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_both_refused_and_unlisted() {
        let mut both: Vec<i64> = lists::ALLOWED.to_vec();
        both.retain(|call| lists::DENIED.contains(call));
        assert!(both.is_empty(), "{both:?}");
    }

    #[test]
    fn every_call_that_is_refused_by_its_arguments_is_otherwise_allowed() {
        let rules = refused_flags()
            .unwrap()
            .into_keys()
            .chain(refused_sockets().unwrap().into_keys());
        for call in rules {
            assert!(lists::ALLOWED.contains(&call), "{call}");
        }
    }

    #[test]
    fn the_filters_compile_and_fit_the_kernel() {
        for filter in &Filters::compile().unwrap().0 {
            assert!((1..=4_096).contains(&filter.len()), "{}", filter.len());
        }
    }
}

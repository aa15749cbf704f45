//! Filters of system calls (seccomp(2)), compiled by seccompiler.

use super::ThreadKind;
use super::allowed::{self, Only};
use libc::{SECCOMP_FILTER_FLAG_SPEC_ALLOW, SECCOMP_FILTER_FLAG_TSYNC, SECCOMP_SET_MODE_FILTER};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
use std::io;
use strum::VariantArray as _;
use syscalls::Sysno;

/// The process's filters, and one for each kind of thread.
pub(super) struct Filters {
    no_clone3: BpfProgram,
    of_process: BpfProgram,
    of_kinds: Vec<(ThreadKind, BpfProgram)>,
}

impl Filters {
    pub(super) fn compile() -> Result<Self, String> {
        let compile = || -> Result<Self, BackendError> {
            let mut of_kinds = Vec::new();
            for &kind in ThreadKind::VARIANTS.iter().filter(|&&kind| kind != ThreadKind::Main) {
                of_kinds.push((kind, program(rules(|it| it.kinds.contains(&kind))?)?));
            }
            Ok(Self { no_clone3: no_clone3()?, of_process: program(rules(|_| true)?)?, of_kinds })
        };
        compile().map_err(|error| error.to_string())
    }

    /// Restricts all threads of the process, and those to come, to what one of their kinds may do.
    pub(super) fn restrict_process(&self) -> Result<(), String> {
        [&self.no_clone3, &self.of_process]
            .into_iter()
            .try_for_each(|program| install(program, SECCOMP_FILTER_FLAG_TSYNC))
            .map_err(|error| error.to_string())
    }

    /// Restricts the calling thread to what those of its kind may do.
    pub(super) fn restrict_thread(&self, kind: ThreadKind) -> io::Result<()> {
        self.of_kinds.iter().find(|(it, _)| *it == kind).map_or(Ok(()), |(_, program)| install(program, 0))
    }
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn number(call: Sysno) -> i64 {
    i64::from(call.id())
}

/// What the entries allow that are `chosen`. No rule of a call is one that always holds.
fn rules(chosen: impl Fn(&allowed::Entry) -> bool) -> Result<Rules, BackendError> {
    let (mut rules, mut always) = (Rules::new(), Vec::new());
    for allowed::Entry { calls, only, .. } in allowed::ENTRIES.iter().filter(|it| chosen(it)) {
        for &call in *calls {
            let of_call = rules.entry(number(call)).or_default();
            if *only == Only::Always {
                always.push(number(call));
            }
            for condition in conditions(*only)? {
                of_call.push(SeccompRule::new(vec![condition])?);
            }
        }
    }
    for call in always {
        rules.insert(call, Vec::new());
    }
    Ok(rules)
}

/// Conditions of which one must hold.
fn conditions(only: Only) -> Result<Vec<SeccompCondition>, BackendError> {
    let is = |argument, operator, value| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value);
    let equal = |argument, value| is(argument, SeccompCmpOp::Eq, value);
    match only {
        Only::Always => Ok(Vec::new()),
        Only::OneOf(argument, values) => values.iter().map(|&value| equal(argument, value)).collect(),
        Only::Without(argument, bits) => Ok(vec![is(argument, SeccompCmpOp::MaskedEq(bits), 0)?]),
        Only::With(argument, bits) => Ok(vec![is(argument, SeccompCmpOp::MaskedEq(bits), bits)?]),
        Only::OwnProcess(argument) => Ok(vec![equal(argument, std::process::id().into())?]),
    }
}

/// The system call of another architecture ends the process: seccompiler's doing.
fn program(rules: Rules) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(rules, SeccompAction::Trap, SeccompAction::Allow, TargetArch::x86_64)?.try_into()
}

/// clone3's flags are in memory, where no filter sees them. A C library that is told that there is no such call makes a thread by
/// clone, as that of container engines is told.
fn no_clone3() -> Result<BpfProgram, BackendError> {
    let rules = Rules::from([(number(Sysno::clone3), Vec::new())]);
    let unknown = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, unknown, TargetArch::x86_64)?.try_into()
}

/// Without SPEC_ALLOW, kernels before 5.16 slow down what is filtered, and its guest, by their defences against Spectre: it would
/// be measured.
fn install(program: &BpfProgram, flags: u64) -> io::Result<()> {
    match try_to_install(program, flags | SECCOMP_FILTER_FLAG_SPEC_ALLOW) {
        // Linux before 4.17 does not know it, and has no such defence.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => try_to_install(program, flags),
        tried => tried,
    }
}

fn try_to_install(program: &BpfProgram, flags: u64) -> io::Result<()> {
    let length = program.len().try_into().map_err(|_| io::ErrorKind::FileTooLarge)?;
    let filter = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: the kernel copies the program, of `length` instructions, whose layout in both crates is the kernel's; it changes nothing.
    match unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const filter) } {
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        thread => Err(io::Error::other(format!("thread {thread} has filters of its own"))),
    }
}

/// Says how many arenas there may be before a thread asks: glibc would count the CPUs, in a file, whenever a thread first finds no
/// arena free. Its own limit is 8 for each CPU.
pub(super) fn know_arenas() {
    #[cfg(target_env = "gnu")]
    {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        // SAFETY: it sets a number; no other thread allocates meanwhile.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, i32::try_from(8 * cpus).unwrap_or(i32::MAX)) };
    }
}

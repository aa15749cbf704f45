//! Which system calls which kind of thread may make, and why: all that there is, and nothing without a reason.

use super::ThreadKind;
use super::ThreadKind::{Competitor, Main, Native, Vcpu};
use super::ioctls;
use syscalls::Sysno;

/// Which arguments a call may have: those that are numbers, by their place from 0 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Only {
    /// Any.
    Always,
    /// This argument is one of these.
    OneOf(u8, &'static [u64]),
    /// None of these bits is set in this argument.
    Without(u8, u64),
    /// All of these bits are set in this argument.
    With(u8, u64),
    /// This argument is this process.
    OwnProcess(u8),
}

/// Calls that some kinds of threads may make.
#[derive(Debug)]
pub struct Entry {
    /// The calls.
    pub calls: &'static [Sysno],
    /// Their arguments.
    pub only: Only,
    /// Who may make them. The process's own filter lets all of them pass: it is that of the main thread.
    pub kinds: &'static [ThreadKind],
    /// What for.
    pub why: &'static str,
}

impl Entry {
    /// The names of its calls.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.calls.iter().map(Sysno::name)
    }
}

const ALL: &[ThreadKind] = &[Main, Vcpu, Native, Competitor];
const WORKERS: &[ThreadKind] = &[Vcpu, Native, Competitor];

const EXECUTABLE: u64 = libc::PROT_EXEC.unsigned_abs() as u64;
const THREAD: u64 = libc::CLONE_THREAD.unsigned_abs() as u64;
const STDERR: u64 = libc::STDERR_FILENO.unsigned_abs() as u64;
const GETFD: u64 = libc::F_GETFD.unsigned_abs() as u64;
const PRCTLS: &[u64] = &[libc::PR_SET_NAME.unsigned_abs() as u64, libc::PR_SET_VMA.unsigned_abs() as u64];

macro_rules! calls {
    ($($call:ident)+) => { &[$(Sysno::$call),+] };
}

/// All of them.
pub const ENTRIES: &[Entry] = &[
    Entry {
        calls: calls!(ioctl),
        only: Only::OneOf(1, &ioctls::OF_VCPU),
        kinds: &[Vcpu],
        why: "KVM_RUN, the vCPU's state, its interrupts; the main thread makes vCPUs, and reads some of their state",
    },
    Entry {
        calls: calls!(ioctl),
        only: Only::OneOf(1, &ioctls::OF_MACHINES),
        kinds: &[Main],
        why: "virtual machines are made, and asked for their state",
    },
    Entry {
        calls: calls!(ioctl),
        only: Only::OneOf(1, &ioctls::OF_TERMINALS),
        kinds: &[Main],
        why: "whether standard output is a terminal, and its width",
    },
    Entry { calls: calls!(futex), only: Only::Always, kinds: ALL, why: "locks, channels, parked vCPUs, joins" },
    Entry {
        calls: calls!(tgkill),
        only: Only::OwnProcess(0),
        kinds: ALL,
        why: "gets a vCPU's thread out of the guest; ends the process after a panic that cannot unwind",
    },
    Entry { calls: calls!(getpid gettid), only: Only::Always, kinds: ALL, why: "for tgkill" },
    Entry {
        calls: calls!(clock_gettime),
        only: Only::Always,
        kinds: ALL,
        why: "CPU clocks, and each clock where the vDSO has none",
    },
    Entry {
        calls: calls!(clock_nanosleep restart_syscall),
        only: Only::Always,
        kinds: ALL,
        why: "sleeps, which the kernel begins anew after a stop (SIGSTOP, SIGCONT)",
    },
    Entry {
        calls: calls!(sched_yield),
        only: Only::Always,
        kinds: ALL,
        why: "gives a shared CPU away, and waits in channels",
    },
    Entry {
        calls: calls!(mmap mprotect),
        only: Only::Without(2, EXECUTABLE),
        kinds: ALL,
        why: "memory, none of it executable: the allocator's, stacks, the guest's",
    },
    Entry {
        calls: calls!(munmap madvise brk mremap),
        only: Only::Always,
        kinds: ALL,
        why: "memory: the allocator's, stacks",
    },
    Entry {
        calls: calls!(rt_sigprocmask rt_sigreturn sigaltstack),
        only: Only::Always,
        kinds: ALL,
        why: "handlers return; a thread that ends has its signals blocked and gives its signal stack back",
    },
    Entry { calls: calls!(exit exit_group), only: Only::Always, kinds: ALL, why: "a thread, or the process, ends" },
    Entry { calls: calls!(write), only: Only::OneOf(0, &[STDERR]), kinds: WORKERS, why: "what a panic says" },
    Entry { calls: calls!(close), only: Only::Always, kinds: WORKERS, why: "a thread that ends closes its vCPU" },
    Entry {
        calls: calls!(fcntl),
        only: Only::OneOf(1, &[GETFD]),
        kinds: WORKERS,
        why: "builds with debug assertions look whether what they close is open",
    },
    Entry { calls: calls!(sched_setaffinity), only: Only::OneOf(0, &[0]), kinds: WORKERS, why: "a thread pins itself" },
    Entry {
        calls: calls!(sched_setaffinity),
        only: Only::Always,
        kinds: &[Main],
        why: "pins itself, and vCPUs that nobody has pinned while their clocks are compared",
    },
    Entry {
        calls: calls!(pread64),
        only: Only::Always,
        kinds: &[Vcpu],
        why: "KVM's statistics, at an exit that the guest asks for",
    },
    Entry {
        calls: calls!(getrusage),
        only: Only::Always,
        kinds: &[Main, Native, Competitor],
        why: "whether a thread was switched out",
    },
    Entry {
        calls: calls!(membarrier rseq),
        only: Only::Always,
        kinds: &[Main, Native],
        why: "the native routes: calls by membarrier, which restart sequences",
    },
    Entry {
        calls: calls!(open openat read pread64 close lseek readlink readlinkat access faccessat faccessat2 getcwd),
        only: Only::Always,
        kinds: &[Main],
        why: "what tells of the host (/proc, /sys), tracefs; Landlock says which files",
    },
    Entry {
        calls: calls!(stat lstat fstat newfstatat statx getdents64 uname sysinfo sched_getaffinity prlimit64 getrandom),
        only: Only::Always,
        kinds: &[Main],
        why: "facts of files and of the host; random names and seeds",
    },
    Entry {
        calls: calls!(write writev fsync fdatasync fcntl flock link linkat rename renameat renameat2 unlink unlinkat),
        only: Only::Always,
        kinds: &[Main],
        why: "results are written, and get their names when they are whole",
    },
    Entry {
        calls: calls!(mkdir mkdirat rmdir),
        only: Only::Always,
        kinds: &[Main],
        why: "a trace instance is made and removed; Landlock says where",
    },
    Entry {
        calls: calls!(clone),
        only: Only::With(0, THREAD),
        kinds: &[Main],
        why: "starts threads, and no processes",
    },
    Entry {
        calls: calls!(set_robust_list set_tid_address),
        only: Only::Always,
        kinds: &[Main],
        why: "a thread begins",
    },
    Entry {
        calls: calls!(clone3),
        only: Only::Always,
        kinds: &[Main],
        why: "is answered by ENOSYS, so that clone is used",
    },
    Entry { calls: calls!(prctl), only: Only::OneOf(0, PRCTLS), kinds: &[Main], why: "names a thread, and its memory" },
    Entry {
        calls: calls!(seccomp),
        only: Only::OneOf(0, &[libc::SECCOMP_SET_MODE_FILTER as u64]),
        kinds: &[Main],
        why: "a thread restricts itself further",
    },
    Entry {
        calls: calls!(eventfd2 pipe2 poll ppoll),
        only: Only::Always,
        kinds: &[Main],
        why: "the port whose writes end in KVM; signals; answers of the process that starts other VMMs",
    },
    Entry {
        calls: calls!(rt_sigaction),
        only: Only::Always,
        kinds: &[Main],
        why: "handlers of the signals that end a run, and of the one that gets a vCPU out of the guest",
    },
    Entry {
        calls: calls!(getcpu gettimeofday time),
        only: Only::Always,
        kinds: &[Main],
        why: "where the vDSO does not answer",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The guide's table.
    fn table() -> String {
        let list = |entry: &Entry| {
            let names: Vec<String> = entry.calls.iter().map(|call| format!("`{}`", call.name())).collect();
            let kinds: Vec<&str> = entry.kinds.iter().map(|kind| kind.short_name()).collect();
            let only = match entry.only {
                Only::Always => String::new(),
                Only::OneOf(argument, values) if values.len() > 3 => {
                    format!(", {} requests by number (argument {argument})", values.len())
                }
                Only::OneOf(argument, values) => format!(", argument {argument} one of {values:?}"),
                Only::Without(argument, bits) => format!(", argument {argument} without {bits:#x}"),
                Only::With(argument, bits) => format!(", argument {argument} with {bits:#x}"),
                Only::OwnProcess(argument) => format!(", argument {argument} kipi's own process"),
            };
            let kinds = if kinds.len() == ALL.len() { "all".to_owned() } else { kinds.join(", ") };
            format!("| {}{only} | {kinds} | {} |\n", names.join(" "), entry.why)
        };
        let head = "| system calls | threads | what for |\n| --- | --- | --- |\n".to_owned();
        head + &ENTRIES.iter().map(list).collect::<String>()
    }

    /// `KIPI_BLESS=1` writes it there.
    #[test]
    fn the_guide_lists_them_all() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../resources/guide/sandbox.md");
        let guide = std::fs::read_to_string(file).expect("the guide");
        let begin = guide.find("| system calls |").expect("a table");
        let end = guide[begin..].find("\n\n").map_or(guide.len(), |end| begin + end + 1);
        if std::env::var_os("KIPI_BLESS").is_some() {
            std::fs::write(file, format!("{}{}{}", &guide[..begin], table(), &guide[end..])).expect("the guide");
        } else {
            assert_eq!(&guide[begin..end], table(), "KIPI_BLESS=1 cargo test -p kipi --lib allowed writes it");
        }
    }

    #[test]
    fn nothing_is_allowed_without_a_reason_or_twice() {
        for (index, entry) in ENTRIES.iter().enumerate() {
            assert!(!entry.why.is_empty() && !entry.calls.is_empty() && !entry.kinds.is_empty(), "{entry:?}");
            for other in &ENTRIES[index + 1..] {
                let is_twice = |call| other.calls.contains(call) && other.only == entry.only;
                let is_same = entry.calls.iter().any(is_twice) && entry.kinds.iter().any(|it| other.kinds.contains(it));
                assert!(!is_same, "{entry:?} and {other:?}");
            }
        }
    }

    /// What takes a process over, or leaves it.
    #[test]
    fn nobody_starts_a_program_or_a_process_or_reaches_another() {
        let forbidden = calls!(execve execveat fork vfork ptrace process_vm_writev kill tkill socket connect mount bpf
            unshare setns init_module kexec_load perf_event_open io_uring_setup userfaultfd pidfd_open);
        for entry in ENTRIES {
            assert!(!entry.calls.iter().any(|call| forbidden.contains(call)), "{entry:?}");
        }
    }

    /// A vCPU's thread has KVM_RUN, and little more.
    #[test]
    fn a_vcpus_thread_opens_nothing() {
        let of_vcpu: Vec<&Entry> = ENTRIES.iter().filter(|entry| entry.kinds.contains(&Vcpu)).collect();
        let opens = calls!(open openat clone clone3 seccomp prctl eventfd2 rename unlink mkdir);
        assert!(!of_vcpu.iter().any(|entry| entry.calls.iter().any(|call| opens.contains(call))));
        assert!(of_vcpu.iter().any(|entry| matches!(entry.only, Only::OneOf(1, [0xAE80, ..]))), "KVM_RUN");
    }
}

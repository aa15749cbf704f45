//! Which files can be reached, by Landlock (landlock(7)): everything that handles files, TCP ports, signals and abstract sockets is
//! denied but for what is named here. What is open stays open.

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, RestrictionStatus, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope, make_bitflags,
};
use rustix::process::geteuid;
use rustix::thread::CapabilitySet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// What tells of the host, processes and KVM: read, never written.
const READ: [&str; 2] = ["/proc", "/sys"];

/// The latest version that kipi knows what to deny of.
const KNOWN: ABI = ABI::V6;

/// What a run writes by name, after it has opened what it can.
#[derive(Debug, Default)]
pub struct Files {
    /// Directories in which results get their names.
    pub outputs: Vec<PathBuf>,
    /// Whether a result replaces a file of another owner's, which it stays.
    pub anothers: bool,
    /// Files that are opened in the middle of a run, and written.
    pub written: Vec<PathBuf>,
    /// tracefs, and within it `instances`, where a trace instance is made, used and removed.
    pub tracefs: Option<PathBuf>,
}

impl Files {
    /// The capabilities without which results would not get their names: root's, in a directory that is somebody else's, or of a file
    /// that is (fs.protected_hardlinks in proc_sys_fs(5)).
    pub(super) fn needed(&self) -> CapabilitySet {
        let is_own = |directory: &PathBuf| fs::metadata(directory).is_ok_and(|it| it.uid() == geteuid().as_raw());
        match (self.outputs.iter().all(is_own), self.anothers) {
            (true, false) => CapabilitySet::empty(),
            (true, true) => CapabilitySet::FOWNER,
            (false, _) => CapabilitySet::DAC_OVERRIDE | CapabilitySet::FOWNER,
        }
    }

    fn rules(&self) -> Vec<(PathBuf, BitFlags<AccessFs>)> {
        let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
        let written = make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate});
        let output = written | make_bitflags!(AccessFs::{ReadDir | MakeReg | RemoveFile});
        let instances = written | make_bitflags!(AccessFs::{ReadDir | MakeDir | RemoveDir});
        let mut rules: Vec<_> = READ.iter().map(|path| (PathBuf::from(path), read)).collect();
        rules.extend(self.outputs.iter().map(|directory| (directory.clone(), output)));
        rules.extend(self.written.iter().map(|file| (file.clone(), written)));
        if let Some(tracefs) = &self.tracefs {
            rules.extend([(tracefs.clone(), read), (tracefs.join("instances"), instances)]);
        }
        rules
    }
}

/// Restricts the calling thread, and those that it starts. The version of Landlock's interface.
pub(super) fn restrict(files: &Files) -> Result<u32, String> {
    let RestrictionStatus { ruleset, landlock, .. } = try_to_restrict(files).map_err(|error| error.to_string())?;
    match landlock {
        LandlockStatus::NotImplemented => Err("this kernel has none (Linux 5.13)".to_owned()),
        LandlockStatus::NotEnabled => Err("this kernel was booted without it (lsm=landlock,…)".to_owned()),
        LandlockStatus::Available { effective_abi, kernel_abi } => match ruleset {
            RulesetStatus::NotEnforced => Err("it is not in force".to_owned()),
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => {
                Ok(kernel_abi.and_then(|abi| u32::try_from(abi).ok()).unwrap_or(effective_abi as u32))
            }
        },
    }
}

fn try_to_restrict(files: &Files) -> Result<RestrictionStatus, RulesetError> {
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?;
    let mut created = ruleset.create()?;
    for (path, access) in files.rules() {
        // What is not there cannot be reached either.
        if let Ok(path) = PathFd::new(path) {
            created = created.add_rule(PathBeneath::new(path, access))?;
        }
    }
    created.restrict_self()
}

use super::*;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process;
use tempfile::TempDir;

fn directory() -> TempDir {
    tempfile::tempdir().expect("temporary directory")
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("directory");
    entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect()
}

fn try_open(path: &Path) -> Result<Output, OutputError> {
    Output::open(Place::find("--json", path)?)
}

fn open(path: &Path) -> Output {
    try_open(path).expect("opens")
}

fn refused(path: &Path) -> String {
    try_open(path).expect_err("refused").to_string()
}

/// Fills an output as a report writer does, and fails after so many of three parts.
fn fill(mut output: Output, parts: usize) -> io::Result<()> {
    for part in 0..3 {
        if part == parts {
            return Err(io::ErrorKind::StorageFull.into());
        }
        output.write_all(b"part\n")?;
    }
    output.commit().map_err(io::Error::other)
}

#[test]
fn a_file_appears_whole_under_its_name_and_alone() {
    let directory = directory();
    let path = directory.path().join("x.json");
    let mut output = open(&path);
    output.write_all(b"{}\n").expect("write");
    output.flush().expect("flush");
    assert!(!path.exists(), "nothing stands under the final name before it is complete");
    output.commit().expect("commit");
    assert_eq!(fs::read(&path).expect("file"), b"{}\n");
    assert_eq!(names(directory.path()), ["x.json"]);
}

#[test]
fn a_failed_writer_leaves_what_was_there_and_no_temporary_file() {
    let directory = directory();
    let path = directory.path().join("x.json");
    assert!(fill(open(&path), 2).is_err());
    assert_eq!(names(directory.path()), [""; 0]);

    fs::write(&path, "old").expect("old file");
    assert!(fill(open(&path), 2).is_err());
    assert_eq!(fs::read(&path).expect("file"), b"old");
    assert_eq!(names(directory.path()), ["x.json"]);

    fill(open(&path), 3).expect("all parts");
    assert_eq!(fs::read(&path).expect("file"), b"part\npart\npart\n");
}

#[test]
fn a_name_taken_by_a_directory_meanwhile_is_an_error_and_leaves_no_temporary_file() {
    let directory = directory();
    let path = directory.path().join("x.json");
    let output = open(&path);
    fs::create_dir(&path).expect("the name is taken");
    let error = output.commit().expect_err("cannot rename over a directory");
    assert_eq!(error.operation, Operation::Rename);
    let message = format!(
        "cannot put the complete file in place as {}: Is a directory (give --json a file in it)",
        path.display()
    );
    assert_eq!(error.to_string(), message);
    assert_eq!(names(directory.path()), ["x.json"]);
}

#[test]
fn a_directory_that_is_moved_meanwhile_takes_its_file_along() {
    let directory = directory();
    let [old, new] = ["old", "new"].map(|name| directory.path().join(name));
    fs::create_dir(&old).expect("a directory");
    let mut output = open(&old.join("x"));
    output.write_all(b"whole").expect("room");
    fs::rename(&old, &new).expect("it is moved");
    fs::create_dir(&old).expect("another one");
    output.commit().expect("a file");
    assert_eq!(fs::read_to_string(new.join("x")).expect("the file"), "whole");
    assert_eq!([names(&old), names(&new)], [vec![], vec!["x".to_owned()]]);
}

#[test]
fn a_missing_directory_is_named_before_anything_is_measured() {
    assert_eq!(
        refused(Path::new("/nope/x.json")),
        "cannot write to /nope/x.json: No such file or directory \
         (create the directory or choose another --json path)"
    );
}

#[test]
fn where_no_file_can_be_the_directory_is_not_missing() {
    assert_eq!(
        refused(Path::new("/proc/x.json")),
        "cannot write to /proc/x.json: No such file or directory (no file can be created there: choose another --json path)"
    );
}

#[test]
fn a_directory_is_no_file() {
    let directory = directory();
    let path = directory.path();
    let message = |path: &str| format!("cannot write to {path}: Is a directory (give --json a file in it)");
    assert_eq!(refused(path), message(&path.display().to_string()));
    let slash = format!("{}/", path.display());
    assert_eq!(refused(Path::new(&slash)), message(&slash));
    let new = format!("{}/new/", path.display());
    assert_eq!(
        refused(Path::new(&new)),
        format!(
            "cannot write to {new}: No such file or directory (it names a directory: create it, and give --json a file in it)"
        )
    );
    assert_eq!(refused(Path::new("..")), message(".."));
}

#[test]
fn a_file_as_directory_is_refused() {
    let directory = directory();
    let file = directory.path().join("file");
    fs::write(&file, "").expect("file");
    let message = refused(&file.join("x.json"));
    assert!(message.ends_with(": Not a directory (choose another --json path)"), "{message}");
}

#[test]
fn write_protection_is_respected() {
    if rustix::process::geteuid().is_root() {
        return; // Root may write everything: there is nothing to respect.
    }
    let directory = directory();
    let path = directory.path().join("x.json");
    fs::write(&path, "old").expect("file");
    fs::set_permissions(&path, Permissions::from_mode(0o444)).expect("mode");
    assert!(refused(&path).contains("Permission denied (choose a --json path in a folder that you may write to)"));
    fs::set_permissions(directory.path(), Permissions::from_mode(0o555)).expect("mode");
    let message = refused(&directory.path().join("y.json"));
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("mode, so that it can be removed");
    assert!(message.contains("Permission denied"), "{message}");
}

#[test]
fn a_new_file_gets_the_mode_that_the_umask_leaves() {
    let directory = directory();
    let (ours, plain) = (directory.path().join("ours"), directory.path().join("plain"));
    open(&ours).commit().expect("commit");
    File::create(&plain).expect("plain file");
    let mode = |path| fs::metadata(path).expect("metadata").mode();
    assert_eq!(mode(&ours), mode(&plain));
}

#[test]
fn a_replaced_file_keeps_its_mode() {
    let directory = directory();
    let path = directory.path().join("x.json");
    fs::write(&path, "old").expect("file");
    fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("mode");
    open(&path).commit().expect("commit");
    assert_eq!(fs::metadata(&path).expect("metadata").mode() & 0o777, 0o640);
}

#[test]
fn a_link_stays_a_link() {
    let directory = directory();
    let (link, target) = (directory.path().join("link"), directory.path().join("target"));
    std::os::unix::fs::symlink("target", &link).expect("link");
    for content in ["first", "second"] {
        let mut output = open(&link);
        output.write_all(content.as_bytes()).expect("write");
        output.commit().expect("commit");
        assert!(fs::symlink_metadata(&link).expect("link").is_symlink());
        assert_eq!(fs::read_to_string(&target).expect("target"), content);
    }
}

#[test]
fn links_in_a_circle_are_refused() {
    let directory = directory();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("link", &link).expect("link");
    assert!(refused(&link).contains("Too many levels of symbolic links"));
}

#[test]
fn devices_are_written_and_not_replaced() {
    let mut output = open(Path::new("/dev/null"));
    output.write_all(b"{}").expect("write");
    output.commit().expect("commit");
    assert!(!fs::metadata("/dev/null").expect("device").is_file());
}

#[test]
fn a_full_device_is_a_clear_error_when_flushed_and_when_written() {
    let expected = "cannot write to /dev/full: No space left on device \
                    (free some space or choose another --json path)";
    let mut output = open(Path::new("/dev/full"));
    output.write_all(b"{}").expect("buffered");
    assert_eq!(output.commit().expect_err("full").to_string(), expected);

    let mut output = open(Path::new("/dev/full"));
    let error = output.write_all(&vec![b' '; 100_000]).expect_err("full");
    assert_eq!((error.kind(), error.to_string()), (io::ErrorKind::StorageFull, expected.to_owned()));
}

#[test]
fn a_reader_that_went_away_can_be_told_apart() {
    let directory = directory();
    let fifo = directory.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("FIFO");
    // Read and write: opening does not wait for a peer.
    let reader = OpenOptions::new().read(true).write(true).open(&fifo).expect("reader");
    let mut direct = open(&fifo);
    let mut written = open(&fifo);
    direct.write_all(b"{}").expect("buffered");
    drop(reader);
    assert!(direct.commit().expect_err("no reader").is_broken_pipe());
    let error = written.write_all(&vec![b' '; 100_000]).expect_err("no reader");
    assert!(is_broken_pipe(&error));
    assert!(!is_broken_pipe(&io::ErrorKind::StorageFull.into()));
}

#[test]
fn standard_output_is_known_under_all_its_names() {
    let process = format!("/proc/{}/fd/1", process::id());
    for name in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", &process] {
        assert!(open(Path::new(name)).is_stdout(), "{name}");
    }
    assert!(!open(Path::new("/dev/null")).is_stdout());
}

#[test]
fn a_descriptor_is_written_and_not_replaced() {
    use std::os::fd::AsRawFd;
    let directory = directory();
    let path = directory.path().join("redirected");
    let file = File::create(&path).expect("file");
    let mut output = open(Path::new(&format!("/dev/fd/{}", file.as_raw_fd())));
    output.write_all(b"{}").expect("write");
    output.commit().expect("commit");
    assert_eq!(fs::metadata(&path).expect("file").ino(), file.metadata().expect("descriptor").ino());
    assert_eq!(fs::read(&path).expect("file"), b"{}");
}

#[test]
fn a_file_stays_its_owners() {
    const SOMEBODY: u32 = 1234;
    let directory = directory();
    let path = directory.path().join("x.json");
    fs::write(&path, "old").expect("file");
    if std::os::unix::fs::chown(&path, Some(SOMEBODY), Some(SOMEBODY)).is_err() {
        return; // Only root may give a file away.
    }
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("mode");
    let mut output = open(&path);
    output.write_all(b"new").expect("written");
    output.commit().expect("committed");
    let file = fs::metadata(&path).expect("the file");
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (SOMEBODY, SOMEBODY, 0o600));
    assert_eq!(fs::read(&path).expect("the file"), b"new");
}

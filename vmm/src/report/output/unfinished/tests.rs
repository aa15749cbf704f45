use super::*;
use std::process::{Command, Stdio};
use tempfile::TempDir;

fn directory() -> TempDir {
    tempfile::tempdir().expect("temporary directory")
}

fn names(directory: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(directory.path()).expect("directory");
    entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect()
}

/// As where the file system has no files without a name.
fn named(directory: &TempDir) -> Unfinished {
    let directory = Directory::open(directory.path()).expect("it is there");
    let (file, name) = named_in(&directory.path).expect("a file");
    Unfinished { file, name: Some(name), directory }
}

/// With the file system's own files without a name, where it has them, and with the fallback.
fn both(directory: &TempDir) -> [Unfinished; 2] {
    [Unfinished::new_in(directory.path()).expect("a file"), named(directory)]
}

#[test]
fn it_appears_whole_and_alone() {
    let directory = directory();
    let path = directory.path().join("x");
    for (index, mut unfinished) in both(&directory).into_iter().enumerate() {
        write!(unfinished, "{index}").expect("room");
        assert_ne!(fs::read_to_string(&path).ok(), Some(index.to_string()), "nothing is there before it is whole");
        unfinished.persist("x".as_ref()).expect("a file");
        assert_eq!(fs::read_to_string(&path).expect("the file"), index.to_string());
    }
    assert_eq!(names(&directory), ["x"]);
}

#[test]
fn it_follows_its_directory() {
    let directory = directory();
    let here = tempfile::tempdir_in(directory.path()).expect("a directory");
    let moved = directory.path().join("moved");
    let made = both(&here);
    fs::rename(here.path(), &moved).expect("one's own");
    fs::create_dir(here.path()).expect("another one in its place");
    for (unfinished, name) in made.into_iter().zip(["x", "y"]) {
        unfinished.persist(name.as_ref()).expect("a file");
        assert!(moved.join(name).exists(), "it is where its directory is");
    }
    assert_eq!((names(&here), fs::read_dir(&moved).expect("a directory").count()), (vec![], 2));
}

#[test]
fn dropped_it_is_gone() {
    let directory = directory();
    drop(both(&directory));
    assert_eq!(names(&directory), [""; 0]);
}

#[test]
fn both_have_the_mode_of_an_ordinary_file() {
    let directory = directory();
    let plain = File::create(directory.path().join("plain")).expect("a file");
    for unfinished in both(&directory) {
        assert_eq!(unfinished.file.metadata().expect("metadata").mode(), plain.metadata().expect("metadata").mode());
    }
}

#[test]
fn a_kill_leaves_nothing_where_files_need_no_name() {
    let directory = directory();
    // Not every file system has them.
    if let Ok(unfinished) = unnamed_in(directory.path()) {
        assert_eq!(names(&directory), [""; 0]);
        drop(unfinished);
    }
}

#[test]
fn what_the_living_hold_is_left_alone() {
    let directory = directory();
    let unfinished = named(&directory);
    collect(directory.path());
    assert_eq!(names(&directory).len(), 1);
    unfinished.persist("x".as_ref()).expect("a file");
    collect(directory.path());
    assert_eq!(names(&directory), ["x"], "what is whole is not collected");
}

/// The lock is the process's that has the file open: here a child that does nothing else, and is killed.
#[test]
fn what_the_killed_held_is_collected() {
    let directory = directory();
    let (file, name) = named_in(directory.path()).expect("a file");
    let left = name.keep().expect("it stays");
    // A bare `sleep`, so that nobody but the child has the descriptor.
    let mut maker = Command::new("sleep").arg("1000").stdin(Stdio::from(file)).spawn().expect("sleep starts");
    collect(directory.path());
    assert!(left.exists(), "its maker lives");
    maker.kill().expect("one's own child");
    maker.wait().expect("it ends");
    collect(directory.path());
    assert_eq!(names(&directory), [""; 0]);
}

#[test]
fn what_is_not_known_to_be_nobodys_stays() {
    let directory = directory();
    let prefix = prefix_of_boot().expect("a boot id");
    // Another machine's or boot's, another program's, and what is no file.
    for name in [".kipi-00000000-abcdef.tmp", ".kipi-abcdef.tmp", "kipi.tmp", &format!("{prefix}abcdef.json")] {
        fs::write(directory.path().join(name), "").expect("a file");
    }
    fs::create_dir(directory.path().join(format!("{prefix}abcdef.tmp"))).expect("a directory");
    std::os::unix::fs::symlink("kipi.tmp", directory.path().join(format!("{prefix}ghijkl.tmp"))).expect("a link");
    collect(directory.path());
    assert_eq!(names(&directory).len(), 6);
}

use super::*;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

fn directory() -> TempDir {
    tempfile::tempdir().expect("temporary directory")
}

fn place(path: impl AsRef<Path>) -> Place {
    Place::find("--json", path.as_ref()).expect("a place")
}

#[test]
fn a_file_is_the_same_under_every_name() {
    let directory = directory();
    let root = directory.path();
    fs::create_dir(root.join("sub")).expect("a directory");
    fs::create_dir(root.join("real")).expect("a directory");
    symlink("real", root.join("alias")).expect("a link");
    symlink("x", root.join("link")).expect("a link");
    symlink(root.join("sub/../link"), root.join("chain")).expect("a link");
    let same = |names: &[&str]| {
        for name in names {
            assert!(place(root.join(names[0])).is_same(&place(root.join(name))), "{} and {name}", names[0]);
        }
    };
    // Once before there is a file, and once when there is one.
    for _ in 0..2 {
        same(&["x", "./x", "sub/../x", "link", "chain"]);
        same(&["real/y", "alias/y", "real/../alias/./y"]);
        fs::write(root.join("x"), "").expect("a file");
        fs::write(root.join("real/y"), "").expect("a file");
    }
    fs::hard_link(root.join("x"), root.join("hard")).expect("a hard link");
    same(&["x", "hard", "link"]);
}

#[test]
fn different_files_are_different() {
    let directory = directory();
    let root = directory.path();
    fs::create_dir(root.join("sub")).expect("a directory");
    fs::write(root.join("there"), "").expect("a file");
    let names = ["x", "y", "sub/x", "there"];
    for (index, one) in names.iter().enumerate() {
        for other in &names[index + 1..] {
            assert!(!place(root.join(one)).is_same(&place(root.join(other))), "{one} and {other}");
        }
    }
}

#[test]
fn standard_output_is_the_same_under_every_name() {
    for name in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        assert!(place("-").is_same(&place(name)) && place(name).is_stdout(), "{name}");
    }
    assert_eq!(place("-").replaces(), None, "it is standard output itself");
}

#[test]
fn a_descriptor_is_the_file_that_it_is_open_on() {
    use std::os::fd::AsRawFd;
    let directory = directory();
    let path = directory.path().join("x");
    let file = File::create(&path).expect("a file");
    let descriptor = place(format!("/dev/fd/{}", file.as_raw_fd()));
    assert!(descriptor.is_same(&place(&path)) && matches!(descriptor.target, Target::Direct(_)));
}

//! Links an image as the `layout.ld` beside its manifest says: the guest's, and the standalone one.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=layout.ld");
    if env::var_os("CARGO_FEATURE_IMAGE").is_none() {
        return;
    }
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let script = manifest.join("layout.ld");
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        "-Wl,-z,noexecstack",
        "-Wl,-z,max-page-size=4096",
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    println!("cargo:rustc-link-arg-bins=-Wl,-T,{}", script.display());
}

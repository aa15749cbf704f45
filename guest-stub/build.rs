//! Links an image as the `layout.ld` beside its manifest says: the guest's, and the standalone one. Says where its package is to the
//! build script of kipi, which builds the images.

use std::env;
use std::path::PathBuf;

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    println!("cargo:rerun-if-changed=layout.ld");
    println!("cargo:folder={}", manifest.display());
    if env::var_os("CARGO_FEATURE_IMAGE").is_none() {
        return;
    }
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

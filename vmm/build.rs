//! Builds the guest image and the standalone image with the host's own toolchain, for kipi to embed.
//!
//! A nested cargo, since the images need flags that nothing else may have. Its own target directory: the outer cargo
//! holds the lock of the usual one.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let workspace = manifest.parent().expect("the workspace's root").to_path_buf();
    let guest = workspace.join("guest-stub");
    let inputs = ["src", "layout.ld", "build.rs", "Cargo.toml"];
    let of_standalone = ["src", "image", "layout.ld", "Cargo.toml"].map(|input| format!("standalone/{input}"));
    for input in inputs.map(str::to_owned).iter().chain(&of_standalone) {
        println!("cargo:rerun-if-changed={}", guest.join(input).display());
    }
    println!("cargo:rerun-if-changed=build.rs");

    let target = env::var("TARGET").expect("set by cargo");
    assert!(target.starts_with("x86_64-"), "kipi's guest is x86-64 code: it cannot be built for {target}");
    let image = build(&workspace, &target, "guest-stub", "kipi-guest", "static", None);
    println!("cargo:rustc-env=KIPI_GUEST_IMAGE={}", image.display());
    let standalone = build(&workspace, &target, "kipi-standalone", "kipi-standalone", "pic", Some(&image));
    println!("cargo:rustc-env=KIPI_STANDALONE_IMAGE={}", standalone.display());
}

/// Builds an image; one that has the guest's in it is told where that is.
fn build(
    workspace: &Path,
    target: &str,
    package: &str,
    binary: &str,
    relocation_model: &str,
    guest: Option<&Path>,
) -> PathBuf {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    let target_dir = out.join("guest");
    let mut cargo = Command::new(env::var_os("CARGO").expect("set by cargo"));
    // The image's red zone is off for all that is compiled here; `core` comes prebuilt with one, which is why every
    // interrupt enters on an IST stack. No vector registers: a KVM that emulates CPL0 does not know their instructions,
    // and interrupts need not save them. Names tell which route and destination a generic function is for. Inherited flags (coverage,
    // target-cpu=native) would break the image.
    cargo
        .current_dir(workspace)
        .args(["build", "--release", "--locked", "--package", package, "--bin", binary])
        .args(["--features", "image", "--target", target, "--target-dir"])
        .arg(&target_dir)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            [
                &format!("-Crelocation-model={relocation_model}"),
                "-Csymbol-mangling-version=v0",
                "-Ccode-model=small",
                "-Cno-redzone=yes",
                "-Ctarget-cpu=x86-64",
                "-Ctarget-feature=-sse2,-sse,-mmx,+soft-float",
            ]
            .join("\x1f"),
        )
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO_BUILD_TARGET")
        .env_remove("CARGO_TARGET_DIR");
    if let Some(guest) = guest {
        cargo.env("KIPI_GUEST_IMAGE", guest);
    }
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "the image {binary} did not build: {status}");
    target_dir.join(target).join("release").join(binary)
}

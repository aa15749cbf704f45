//! Builds the guest image and the standalone image with the host's own toolchain, for kipi to embed.
//!
//! A nested cargo, since the images need flags that nothing else may have. Its own target directory: the outer cargo
//! holds the lock of the usual one.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What of a package an image is built from, beside the standalone image's `image`.
const INPUTS: [&str; 4] = ["src", "layout.ld", "build.rs", "Cargo.toml"];

fn main() {
    let guest = folder("DEP_KIPI_GUEST_FOLDER");
    let standalone = folder("DEP_KIPI_STANDALONE_FOLDER");
    let inputs = INPUTS.map(|input| guest.join(input));
    let of_standalone = ["image"].iter().chain(&INPUTS).map(|input| standalone.join(input));
    for input in inputs.into_iter().chain(of_standalone) {
        println!("cargo:rerun-if-changed={}", input.display());
    }
    println!("cargo:rerun-if-changed=build.rs");

    let target = env::var("TARGET").expect("set by cargo");
    assert!(target.starts_with("x86_64-"), "kipi's guest is x86-64 code: it cannot be built for {target}");
    let workspace = Workspace::of(&guest, &standalone);
    let image = build(&workspace, &target, "guest-stub", "kipi-guest", "static", None);
    println!("cargo:rustc-env=KIPI_GUEST_IMAGE={}", image.display());
    let standalone = build(&workspace, &target, "kipi-standalone", "kipi-standalone", "pic", Some(&image));
    println!("cargo:rustc-env=KIPI_STANDALONE_IMAGE={}", standalone.display());
}

/// The folder that the environment variable `name` has: set by cargo, or by it from what a dependency's build script says.
fn folder(name: &str) -> PathBuf {
    PathBuf::from(env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}")))
}

/// The workspace that the images are built in.
struct Workspace {
    folder: PathBuf,
    /// What says that its lock file is the one to take.
    locked: Option<&'static str>,
}

impl Workspace {
    /// The repository's own, or where the packages come from a registry, one that is put together of them.
    fn of(guest: &Path, standalone: &Path) -> Self {
        if standalone.starts_with(guest) {
            let folder = guest.parent().expect("the workspace's root").to_path_buf();
            return Self { folder, locked: Some("--locked") };
        }
        let folder = folder("OUT_DIR").join("workspace");
        if folder.exists() {
            fs::remove_dir_all(&folder).expect("an earlier copy goes");
        }
        copy(guest, &folder.join("guest-stub"));
        copy(standalone, &folder.join("guest-stub/standalone"));
        let manifest = r#"[workspace]
resolver = "3"
members = ["guest-stub", "guest-stub/standalone"]

[patch.crates-io]
guest-stub = { path = "guest-stub" }
"#;
        fs::write(folder.join("Cargo.toml"), manifest).expect("OUT_DIR takes files");
        // The versions that kipi itself is built with, where its package says them. The rest of that file does not apply here, so
        // that it cannot be taken as it is.
        let lock = self::folder("CARGO_MANIFEST_DIR").join("Cargo.lock");
        if lock.exists() {
            fs::copy(lock, folder.join("Cargo.lock")).expect("OUT_DIR takes files");
        }
        Self { folder, locked: None }
    }
}

/// Copies the folder `from` with all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("OUT_DIR takes folders");
    for entry in fs::read_dir(from).expect("a package's folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("OUT_DIR takes files");
        }
    }
}

/// Builds an image; one that has the guest's in it is told where that is.
fn build(
    workspace: &Workspace,
    target: &str,
    package: &str,
    binary: &str,
    relocation_model: &str,
    guest: Option<&Path>,
) -> PathBuf {
    let target_dir = folder("OUT_DIR").join("guest");
    let mut cargo = Command::new(env::var_os("CARGO").expect("set by cargo"));
    // The image's red zone is off for all that is compiled here; `core` comes prebuilt with one, which is why every
    // interrupt enters on an IST stack. No vector registers: a KVM that emulates CPL0 does not know their instructions,
    // and interrupts need not save them. Names tell which route and destination a generic function is for. Inherited flags (coverage,
    // target-cpu=native) would break the image, all but those that keep this machine's paths out of it.
    let mut flags = vec![format!("-Crelocation-model={relocation_model}")];
    flags.extend(
        [
            "-Csymbol-mangling-version=v0",
            "-Ccode-model=small",
            "-Cno-redzone=yes",
            "-Ctarget-cpu=x86-64",
            "-Ctarget-feature=-sse2,-sse,-mmx,+soft-float",
        ]
        .map(str::to_owned),
    );
    let inherited = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    flags.extend(inherited.split('\x1f').filter(|flag| flag.starts_with("--remap-path-prefix=")).map(str::to_owned));
    cargo
        .current_dir(&workspace.folder)
        .args(["build", "--release", "--package", package, "--bin", binary])
        .args(workspace.locked)
        .args(["--features", "image", "--target", target, "--target-dir"])
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .envs([
            ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
            ("CARGO_PROFILE_RELEASE_LTO", "fat"),
            ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
        ])
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

//! The rooms of `vmm/src` and their arrows: a file imports from its own folder and from those below it, never upwards.
//!
//! The arrows are read from the code itself, tests left out: every path that begins with `crate`, `self`, `super` or `kipi`, in
//! `use` declarations and elsewhere.

use kipi_tests::{run_tests, test};
use proc_macro2::{TokenStream, TokenTree};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};
use syn::{Attribute, File, ImplItemFn, Item, ItemUse, Macro, UseTree};

fn main() -> std::process::ExitCode {
    run_tests()
}

/// The rooms, from the one that everything is put together in down to those that import nothing of ours. An arrow may lead
/// from a room to one that stands after it.
const ROOMS: [&str; 17] = [
    "commands",
    "check",
    "doctor",
    "experiment",
    "comparison",
    "report",
    // A log's blocks are believed as the guest's own are, and nothing of a virtual machine is needed for that.
    "standalone",
    "guest",
    "vm",
    "vcpu",
    "native",
    "statistics",
    "events",
    "config",
    "host",
    // Of the threads of every room above.
    "sandbox",
    "results",
];

/// Crates that only some rooms may know.
const KEPT_IN: [(&str, &[&str]); 5] = [
    ("clap", &["commands"]),
    ("kvm_ioctls", &["vm", "vcpu"]),
    // Events carry its clock and the names of what failed.
    ("kipi_kvm_apic", &["vm", "vcpu", "events"]),
    ("seccompiler", &["sandbox"]),
    ("landlock", &["sandbox"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A source file, by its place below `vmm/src`.
struct SourceFile {
    place: PathBuf,
    syntax: File,
}

impl SourceFile {
    fn room(&self) -> &str {
        self.place.components().next().and_then(|room| room.as_os_str().to_str()).expect("UTF-8")
    }

    /// The path of the file's module: `["events", "kernel"]` of `events/kernel/mod.rs`.
    fn module(&self) -> Vec<String> {
        let mut module: Vec<String> =
            self.place.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            module.pop();
        }
        module
    }

    /// Every path that the file names outside of its tests, from the crate's root: `["events", "clock"]`. One into another
    /// crate begins with that crate's name after an empty part.
    fn paths(&self) -> Vec<Vec<String>> {
        let mut paths = Paths { module: self.module(), found: Vec::new() };
        paths.visit_file(&self.syntax);
        paths.found
    }
}

/// The files of `vmm/src` that are no tests.
fn sources() -> Vec<SourceFile> {
    fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).expect("a folder of the sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                collect(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let root = root().join("vmm/src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let is_test = |path: &PathBuf| path.ends_with("tests.rs") || path.ends_with("fixture.rs");
    files
        .into_iter()
        .filter(|path| !is_test(path))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source file");
            let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            SourceFile { place: path.strip_prefix(&root).expect("below the root").to_owned(), syntax }
        })
        .collect()
}

struct Paths {
    module: Vec<String>,
    found: Vec<Vec<String>>,
}

impl Paths {
    /// Takes down a path as it stands in the code.
    fn add(&mut self, parts: &[String]) {
        let mut module = self.module.clone();
        let mut rest = parts;
        let path = match parts.first().map(String::as_str) {
            Some("crate" | "kipi") => rest[1..].to_vec(),
            Some("self" | "super") => {
                while let Some((first, more)) = rest.split_first() {
                    match first.as_str() {
                        "self" => {}
                        "super" => _ = module.pop(),
                        _ => break,
                    }
                    rest = more;
                }
                module.into_iter().chain(rest.iter().cloned()).collect()
            }
            Some(other) if parts.len() > 1 => [String::new(), other.to_owned()].to_vec(),
            _ => return,
        };
        self.found.push(path);
    }

    fn add_tree(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: String| before.iter().cloned().chain([name]).collect::<Vec<_>>();
        match tree {
            UseTree::Path(path) => self.add_tree(&with(path.ident.to_string()), &path.tree),
            UseTree::Name(name) => self.add(&with(name.ident.to_string())),
            UseTree::Rename(rename) => self.add(&with(rename.ident.to_string())),
            UseTree::Glob(_) => self.add(before),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(before, tree)),
        }
    }

    /// Paths in a macro's tokens, which are no syntax yet.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.add(&std::mem::take(&mut path));
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.add(&std::mem::take(&mut path));
                    self.add_tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => self.add(&std::mem::take(&mut path)),
            }
        }
        self.add(&path);
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let cfg_test = |list: &syn::MetaList| list.path.is_ident("cfg") && list.tokens.to_string() == "test";
        attribute.meta.require_list().is_ok_and(cfg_test)
    })
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = match item {
            Item::Mod(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => &[],
        };
        if !is_test(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        if !is_test(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.module.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.add_tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.add(&parts);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast Macro) {
        self.add_tokens(invocation.tokens.clone());
        visit::visit_macro(self, invocation);
    }
}

fn rank(room: &str) -> Option<usize> {
    ROOMS.iter().position(|known| *known == room)
}

#[test]
fn every_room_has_its_place() {
    let rooms: BTreeSet<String> = sources().iter().map(|source| source.room().to_owned()).collect();
    let known: BTreeSet<String> = ROOMS.iter().chain(&["lib.rs", "main.rs"]).map(ToString::to_string).collect();
    assert_eq!(rooms, known, "a new room needs a place in the order in which data passes");
}

#[test]
fn no_arrow_leads_upwards() {
    let mut wrong = BTreeSet::new();
    let mut right = 0;
    for source in sources() {
        let Some(from) = rank(source.room()) else { continue };
        for path in source.paths() {
            let Some(to) = path.first().and_then(|room| rank(room)) else { continue };
            if to < from {
                wrong.insert(format!("{} imports {}", source.place.display(), path.join("::")));
            } else if to > from {
                right += 1;
            }
        }
    }
    assert!(right > 100, "only {right} arrows were found");
    assert!(wrong.is_empty(), "arrows that lead upwards:\n{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn what_only_some_rooms_may_know_stays_there() {
    let mut wrong = BTreeSet::new();
    for source in sources() {
        for path in source.paths() {
            let [first, name, ..] = path.as_slice() else { continue };
            for (kept, rooms) in KEPT_IN {
                if first.is_empty() && name == kept && rank(source.room()).is_some() && !rooms.contains(&source.room())
                {
                    wrong.insert(format!("{} imports {kept}", source.place.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn results_import_nothing_of_ours_but_the_abi() {
    for source in sources().iter().filter(|source| source.room() == "results") {
        let guest = source.syntax.items.iter().filter_map(|item| match item {
            Item::Use(item) => Some(&item.tree),
            _ => None,
        });
        for tree in guest {
            if let UseTree::Path(path) = tree
                && path.ident == "guest_stub"
            {
                let UseTree::Path(part) = &*path.tree else { panic!("{} imports guest_stub", source.place.display()) };
                assert_eq!(part.ident, "abi", "{}", source.place.display());
            }
        }
    }
}

#[test]
fn the_local_apic_stands_alone() {
    let manifest = fs::read_to_string(root().join("vmm/apic/Cargo.toml")).expect("the crate's manifest");
    assert!(!manifest.contains("\n[dependencies]"), "kipi-apic has a dependency");
    let library = fs::read_to_string(root().join("vmm/apic/src/lib.rs")).expect("the crate's root");
    assert!(library.contains("\n#![no_std]\n"), "kipi-apic uses std");
}

/// Whoever embeds it compiles neither our guest nor our reports.
#[test]
fn the_local_apics_on_kvm_need_little() {
    let manifest = fs::read_to_string(root().join("vmm/kvm-apic/Cargo.toml")).expect("the crate's manifest");
    let (_, rest) = manifest.split_once("\n[dependencies]\n").expect("it has some");
    let names = rest.lines().map_while(|line| line.split_once(" = ").map(|(name, _)| name));
    assert_eq!(names.collect::<Vec<_>>(), ["kipi-apic", "kvm-bindings", "kvm-ioctls", "libc", "vmm-sys-util"]);
}

/// Of a file that is not listed, no test would be run: the built-in harness knows none of them.
#[test]
fn every_file_of_tests_has_the_harness_that_knows_skipped_ones() {
    let manifest = fs::read_to_string(root().join("tests/Cargo.toml")).expect("the manifest");
    let entries =
        fs::read_dir(root().join("tests/tests")).expect("the tests").map(|entry| entry.expect("an entry").path());
    for file in entries {
        let name = file.file_stem().and_then(|name| name.to_str()).expect("UTF-8");
        let listed = format!("[[test]]\nname = \"{name}\"\nharness = false\n");
        assert!(manifest.contains(&listed), "tests/Cargo.toml lacks {listed}");
    }
}

//! The files in `resources/ci`, which users copy: each has the form that its reader takes, and every command of kipi's in it can
//! be typed.

use kipi_tests::{Ran, Running, kipi, run_tests, skip, test};
use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

fn main() -> std::process::ExitCode {
    run_tests()
}

const GITHUB: &str = include_str!("../../resources/ci/github-actions.yml");
const GITLAB: &str = include_str!("../../resources/ci/gitlab-ci.yml");
const LAVA: &str = include_str!("../../resources/ci/lava.yaml");
const KSELFTEST: &str = include_str!("../../resources/ci/kselftest.sh");

fn kselftest() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../resources/ci/kselftest.sh")
}

fn yaml(text: &str) -> Value {
    yaml_serde::from_str(text).expect("YAML")
}

fn texts(value: &Value) -> Vec<&str> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|item| item.as_str().expect("a text")).collect()
}

/// The shell scripts of each file, under the shell that runs them.
fn scripts() -> Vec<(&'static str, &'static str, String)> {
    let of_step = |step: &Value| step["run"].as_str().map(str::to_owned);
    let github = yaml(GITHUB)["jobs"]["kipi"]["steps"].as_array().expect("steps").iter().filter_map(of_step).collect();
    let of_job = |job: &Value| [texts(&job["before_script"]), texts(&job["script"])].concat().join("\n");
    let gitlab = yaml(GITLAB).as_object().expect("jobs").values().map(of_job).collect();
    let lava = vec![texts(&yaml(LAVA)["run"]["steps"]).join("\n")];
    let files: [(_, _, Vec<String>); 4] = [
        ("github-actions.yml", "bash", github),
        ("gitlab-ci.yml", "bash", gitlab),
        ("lava.yaml", "sh", lava),
        ("kselftest.sh", "sh", vec![KSELFTEST.to_owned()]),
    ];
    files
        .into_iter()
        .flat_map(|(file, shell, scripts)| scripts.into_iter().map(move |script| (file, shell, script)))
        .filter(|(_, _, script)| !script.is_empty())
        .collect()
}

/// The arguments of every call of kipi's in a script.
fn calls(script: &str) -> Vec<Vec<String>> {
    let mut calls = Vec::new();
    for line in script.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        for (index, word) in words.iter().enumerate() {
            let is_command = |word: &&&str| word.chars().all(|character| character.is_ascii_lowercase());
            if ["kipi", "./kipi", "\"$kipi\""].contains(word)
                && words.get(index + 1).is_some_and(|next| is_command(&next))
            {
                let is_end = |word: &&&str| !word.starts_with(['>', '|', '&', ';']);
                let arguments = words[index + 1..].iter().take_while(is_end);
                calls.push(arguments.map(|word| word.replace('"', "")).collect());
            }
        }
    }
    calls
}

/// Behind options that are known, and values that are possible, `--help` is help; behind others it is not reached.
#[test]
fn every_command_can_be_typed() {
    for (file, expected) in [("github-actions.yml", 4), ("gitlab-ci.yml", 5), ("lava.yaml", 3), ("kselftest.sh", 3)] {
        let of_file = scripts().into_iter().filter(|(of, _, _)| *of == file);
        let calls: Vec<_> = of_file.flat_map(|(_, _, script)| calls(&script)).collect();
        assert_eq!(calls.len(), expected, "{file}: {calls:?}");
        for call in calls {
            let ran = kipi(call.iter().map(String::as_str).chain(["--help"]));
            assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{file}: {call:?}");
        }
    }
    let ran = kipi(["compare", "base", "--new", "new", "--format", "smoke-signals", "--help"]);
    assert_eq!(ran.status, Some(2), "a value that is not possible is found");
}

#[test]
fn every_script_is_one() {
    for (file, shell, script) in scripts() {
        let output = Command::new(shell).args(["-n", "-c", &script]).output().expect("a shell");
        assert!(output.status.success(), "{file}: {}{script}", String::from_utf8_lossy(&output.stderr));
        // That A && B || C also runs C after B is meant.
        let mut command = Command::new("shellcheck");
        command.args(["--shell", shell, "--severity", "warning", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        match command.spawn() {
            Ok(mut shellcheck) => {
                let mut input = shellcheck.stdin.take().expect("piped");
                input.write_all(script.as_bytes()).expect("it reads");
                drop(input);
                let output = shellcheck.wait_with_output().expect("it ends");
                assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stdout));
            }
            Err(error) => skip(format_args!("shellcheck: {error}")),
        }
    }
}

#[test]
fn github_takes_the_workflow() {
    let workflow = yaml(GITHUB);
    assert!(workflow["on"].get("pull_request").is_some(), "{}", workflow["on"]);
    let job = &workflow["jobs"]["kipi"];
    assert!(job["runs-on"].is_string() && job["timeout-minutes"].is_u64());
    let steps = job["steps"].as_array().expect("steps");
    let is_step = |step: &Value| step["name"].is_string() && step["run"].is_string() != step["uses"].is_string();
    assert!(steps.iter().all(is_step), "{steps:#?}");
    assert!(steps.iter().filter_map(|step| step["uses"].as_str()).all(|action| action.contains('@')));
    // An expression in a script is replaced before the shell sees it, whatever it contains.
    assert!(scripts().iter().all(|(_, _, script)| !script.contains("${{")));
}

#[test]
fn gitlab_warns_of_what_is_no_failure() {
    let jobs = yaml(GITLAB);
    let codes = |job: &str| jobs[job]["allow_failure"]["exit_codes"].clone();
    assert_eq!((codes("kipi-check"), codes("kipi-compare")), (serde_json::json!([4]), serde_json::json!([4, 5])));
    for (name, job) in jobs.as_object().expect("jobs").iter().filter(|(name, _)| name.starts_with("kipi-")) {
        assert!(job["extends"] == ".kipi" && !texts(&job["script"]).is_empty(), "{name}");
    }
    assert_eq!(jobs["kipi-compare"]["artifacts"]["reports"]["junit"], "compare.xml");
}

/// A directory of programs that stand in for others.
fn stand_ins(programs: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    for (name, script) in programs {
        let path = directory.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    directory
}

#[test]
fn lava_has_a_test_case_for_each_test() {
    let definition = yaml(LAVA);
    assert_eq!(definition["metadata"]["format"], "Lava-Test Test Definition 1.0");
    let params = definition["params"].as_object().expect("parameters");
    assert!(params.values().all(Value::is_string), "{params:?}");
    let programs = stand_ins(&[
        ("lava-test-case", "echo \"$@\""),
        ("lava-test-set", "echo set \"$@\""),
        // It delivers a kipi, or nothing for the base, whose tests are the same in check and compare.
        (
            "wget",
            "if [ \"$3\" = kipi ]; then printf '%s\\n' '#!/bin/sh' \
             'case $1 in measure) exit 0 ;; esac' \
             'printf \"ok 1 - a: b, c\\\\nnot ok 2 - d/e\\\\n  ---\\\\n  message: \\\"x\\\"\\\\n  ...\\\\n\"' \
             'echo \"ok 3 - f # SKIP why\"' '[ $1 = check ] || exit 1' > kipi; else tar -cf base.tar -T /dev/null; fi",
        ),
    ]);
    let work = tempfile::tempdir().expect("a directory for temporary files");
    let script = texts(&definition["run"]["steps"]).join("\n");
    let path = format!("{}:{}", programs.path().display(), std::env::var("PATH").expect("a path"));
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).current_dir(work.path());
    shell.envs([("PATH", path.as_str()), ("KIPI_URL", "kipi"), ("BASE_URL", "base"), ("RUNS", "2")]);
    let Ran { stdout, stderr, .. } = Running::start(&mut shell).finish();
    let cases = "a_b_c --result pass\nd_e --result fail\nf --result skip\n";
    let expected = format!("set start check\n{cases}set stop\nset start compare\n{cases}set stop\n");
    assert_eq!(stdout, expected, "{stderr}");
}

/// Runs the script of kselftest with a kipi whose `measure` and `compare` end so.
fn kselftest_with(measure: i32, compare: i32) -> Ran {
    let kipi = format!("[ \"$1\" = compare ] || exit {measure}\necho from compare\nexit {compare}");
    let programs = stand_ins(&[("kipi", &kipi)]);
    let mut script = Command::new(kselftest());
    script.env("KIPI", programs.path().join("kipi")).env("KIPI_BASE", "base").env("KIPI_RUNS", "2");
    Running::start(&mut script).finish()
}

#[test]
fn kselftest_gets_its_own_statuses() {
    // kipi's measure and compare, and what it comes to.
    for (measure, compare, status) in [(0, 0, 0), (1, 1, 1), (0, 3, 1), (0, 5, 4), (0, 2, 1), (2, 0, 1), (130, 0, 1)] {
        let ran = kselftest_with(measure, compare);
        assert_eq!(ran.status, Some(status), "measure {measure}, compare {compare}: {ran:?}");
        assert_eq!(ran.stdout.contains("from compare"), measure <= 1);
    }
    let skipped = kselftest_with(4, 0);
    assert_eq!(
        (skipped.status, skipped.stdout.as_str()),
        (Some(4), "TAP version 13\n1..0 # SKIP this host cannot do it\n")
    );
    let missing = Running::start(Command::new(kselftest()).env("KIPI", "/nonexistent/kipi")).finish();
    assert_eq!(missing.status, Some(4));
    assert!(missing.stdout.starts_with("TAP version 13\n1..0 # SKIP there is no /nonexistent/kipi"), "{missing:?}");
}

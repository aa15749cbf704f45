//! The files for a fleet of hosts: they keep to Kubernetes' types, ask for no privilege, and their command lines run.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, PersistentVolumeClaim, PodSpec};
use kipi_tests::{document, hypervisor, kipi, run_tests, test, turn};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> std::process::ExitCode {
    run_tests()
}

fn resources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../resources")
}

/// The objects of a file.
fn objects(file: &str) -> Vec<Value> {
    let text = fs::read_to_string(resources().join("kubernetes").join(file)).expect("the file");
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The object as a type of Kubernetes' API, which has a place for all that it says: what it does not know, it drops.
fn typed<T: Serialize + DeserializeOwned>(object: &Value) -> T {
    let typed: T = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error}: {object:#}"));
    assert_eq!(&serde_json::to_value(&typed).expect("JSON"), object, "a field that the API does not have");
    typed
}

fn jobs() -> [Job; 2] {
    let mut of_job = objects("job.yaml");
    let job = typed(&of_job.pop().expect("a job"));
    typed::<PersistentVolumeClaim>(&of_job.pop().expect("a volume"));
    assert_eq!(of_job.len(), 0);
    let [of_textfile] = &objects("textfile.yaml")[..] else { panic!("one job") };
    [job, typed(of_textfile)]
}

fn pod_of(job: &Job) -> &PodSpec {
    job.spec.as_ref().and_then(|job| job.template.spec.as_ref()).expect("a pod")
}

fn container_of(job: &Job) -> &Container {
    let [container] = &pod_of(job).containers[..] else { panic!("one container") };
    container
}

#[test]
fn a_field_that_kubernetes_does_not_have_is_found() {
    let mut object = objects("textfile.yaml").remove(0);
    object["spec"]["completion"] = 3.into();
    assert!(std::panic::catch_unwind(|| typed::<Job>(&object)).is_err());
}

#[test]
fn a_job_makes_one_run_on_each_host() {
    for job in jobs() {
        let spec = job.spec.as_ref().expect("a spec");
        assert_eq!(spec.completion_mode.as_deref(), Some("Indexed"));
        assert!(spec.completions == spec.parallelism && spec.completions == spec.max_failed_indexes);
        let affinity = pod_of(&job).affinity.as_ref().and_then(|it| it.pod_anti_affinity.as_ref()).expect("affinity");
        let [term] = affinity.required_during_scheduling_ignored_during_execution.as_deref().expect("required") else {
            panic!("one term")
        };
        assert_eq!(term.topology_key, "kubernetes.io/hostname");
        let kept_apart = term.label_selector.as_ref().and_then(|it| it.match_labels.as_ref()).expect("labels");
        let labels = spec.template.metadata.as_ref().and_then(|it| it.labels.as_ref()).expect("labels");
        assert!(kept_apart.iter().all(|(name, value)| labels.get(name) == Some(value)), "its own pods");
        let rules = &spec.pod_failure_policy.as_ref().expect("a policy").rules;
        let codes = rules.iter().filter_map(|rule| rule.on_exit_codes.as_ref()).flat_map(|it| &it.values);
        assert_eq!(codes.collect::<Vec<_>>(), [&2, &4], "bad input, and a host that cannot");
    }
}

#[test]
fn a_pod_has_kvm_from_a_device_plugin_and_no_privilege() {
    for job in jobs() {
        let (pod, container) = (pod_of(&job), container_of(&job));
        let context = container.security_context.as_ref().expect("a context");
        assert_eq!((context.privileged, context.allow_privilege_escalation), (None, Some(false)));
        assert_eq!(context.read_only_root_filesystem, Some(true));
        let capabilities = context.capabilities.as_ref().expect("capabilities");
        assert_eq!((capabilities.add.as_ref(), capabilities.drop.as_deref()), (None, Some(&["ALL".to_owned()][..])));
        let of_pod = pod.security_context.as_ref().expect("a context");
        assert_eq!((of_pod.run_as_non_root, of_pod.run_as_user), (Some(true), Some(65_534)));
        assert_eq!((pod.host_network, pod.host_pid, pod.host_ipc), (None, None, None));
        let resources = container.resources.as_ref().expect("resources");
        assert_eq!(resources.limits, resources.requests, "guaranteed, so that CPUs can be its own");
        assert_eq!(resources.limits.as_ref().expect("limits")["squat.ai/kvm"].0, "1");
        let paths = pod.volumes.iter().flatten().filter_map(|volume| volume.host_path.as_ref());
        assert!(paths.into_iter().all(|path| !path.path.starts_with("/dev")), "no device by its path");
    }
}

/// As the container runs it, but for what the kubelet replaces, and for how long it takes.
#[test]
fn the_command_lines_run() {
    for (job, (place, written)) in jobs().iter().zip([("/results", "node-7.json"), ("/textfile", "kipi.prom")]) {
        let container = container_of(job);
        assert_eq!(container.command, None, "the image's entry point is kipi");
        let mounts = container.volume_mounts.as_deref().expect("mounts");
        assert_eq!(mounts.iter().map(|mount| mount.mount_path.as_str()).collect::<Vec<_>>(), [place]);
        let directory = tempfile::tempdir().expect("a directory");
        let arguments = container.args.iter().flatten().map(|argument| {
            argument.replace("$(HOST)", "node-7").replace(place, directory.path().to_str().expect("UTF-8"))
        });
        if hypervisor().is_none() {
            return;
        }
        let _turn = turn();
        let ran = kipi(arguments.chain(["--rounds=10", "--boots=1"].map(str::to_owned)));
        assert_eq!(ran.status, Some(0), "{ran:?}");
        let text = fs::read_to_string(directory.path().join(written)).expect("what it wrote");
        if written == "kipi.prom" {
            assert!(text.contains("kipi_"), "{text}");
        } else {
            assert_eq!(document(&text)["schema"], "kipi.measurement/1");
        }
    }
}

#[test]
fn the_image_is_built_of_what_is_here_and_runs_as_nobody() {
    let text = fs::read_to_string(resources().join("Containerfile")).expect("the file");
    let steps: Vec<(&str, &str)> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' ')).collect();
    let of = |wanted: &str| steps.iter().filter(|(step, _)| *step == wanted).map(|(_, rest)| *rest).collect::<Vec<_>>();
    assert_eq!(of("FROM").len(), 2, "what builds it does not stay in it");
    assert_eq!(of("USER"), ["65534:65534"]);
    let entry: Vec<String> = serde_json::from_str(of("ENTRYPOINT")[0]).expect("an exec form");
    assert!(
        of("COPY").iter().any(|copied| copied.ends_with(&format!(" {}", entry[0]))),
        "what is run was copied there"
    );
    assert!(of("RUN")[0].contains("--locked --package kipi"));
}

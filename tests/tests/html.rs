//! `kipi measure --html` in a browser: it renders, its numbers are the JSON's, and it fits a small screen.

use kipi_tests::{hypervisor, kipi, run_tests, skip, test, turn};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() -> std::process::ExitCode {
    run_tests()
}

/// What the browser made of a page, and what it complained about.
struct Shown {
    dom: String,
    complaints: Vec<String>,
}

/// A Chromium on the path; `None`, after a line that says so, where there is none.
fn browser() -> Option<&'static str> {
    let works = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    let found = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| works(name));
    if found.is_none() {
        skip("no Chromium on the path (install the package chromium)");
    }
    found
}

fn show(browser: &str, page: &Path, width: u32) -> Shown {
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"])
        .arg(format!("--window-size={width},900"))
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("it has just told its version");
    let complaints = String::from_utf8_lossy(&output.stderr);
    Shown {
        dom: String::from_utf8(output.stdout).expect("a DOM is text"),
        complaints: complaints.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect(),
    }
}

/// A page of real measurements, and its document.
fn page(directory: &Path) -> (PathBuf, Value) {
    let (html, json) = (directory.join("report.html"), directory.join("report.json"));
    let plain = |path: &Path| path.to_str().expect("a plain path").to_owned();
    let ran = kipi(
        ["measure", "--vcpus", "2,3", "--route", "xapic,memory", "--target-state", "halt,spin", "--rounds", "20"]
            .map(str::to_owned)
            .into_iter()
            .chain([
                "--trace".to_owned(),
                "vmm".to_owned(),
                "--html".to_owned(),
                plain(&html),
                "--json".to_owned(),
                plain(&json),
            ]),
    );
    assert_eq!(ran.status, Some(0), "{ran:?}");
    (html, kipi_tests::document(&fs::read_to_string(json).expect("the document")))
}

/// The value of an attribute in the text of a tag.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let start = tag.find(&format!(" {name}=\""))? + name.len() + 3;
    tag[start..].split('"').next()
}

#[test]
fn a_browser_shows_the_documents_numbers_and_has_nothing_to_complain_about() {
    let _turn = turn();
    let (Some(_), Some(browser)) = (hypervisor(), browser()) else { return };
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let (html, document) = page(directory.path());
    let shown = show(browser, &html, 1400);
    assert_eq!(shown.complaints, Vec::<String>::new());
    let cells = document["cells"].as_array().expect("cells");
    let mut compared = 0;
    for row in shown.dom.split("<tr data-cell=\"").skip(1) {
        let (index, row) = row.split_once('"').expect("an attribute ends");
        let cell = &cells[index.parse::<usize>().expect("a number")];
        let row = row.split("</tr>").next().expect("a part");
        for tag in row.split("<td").skip(1).filter_map(|rest| rest.split('>').next()) {
            let Some(metric) = attribute(tag, "data-metric") else { continue };
            let stat = attribute(tag, "data-stat").expect("with its statistic");
            let value: f64 = attribute(tag, "data-value").and_then(|it| it.parse().ok()).expect("a number");
            assert_eq!(Some(value), cell["metrics"][metric][stat].as_f64(), "{metric} {stat} of cell {index}");
            compared += 1;
        }
    }
    assert!(compared >= 6 * cells.len(), "{compared} numbers of {} cells", cells.len());
    for (index, section) in shown.dom.split("<section class=\"cell\"").skip(1).enumerate() {
        let rows = cells[index]["by_initiator"].as_array().expect("rows");
        let of_row = |row: &Value| {
            let (from, targets) = (row["initiator"].as_u64(), row["targets"].as_array().expect("targets").clone());
            targets.into_iter().map(move |to| ([from, to["vcpu"].as_u64()], to["p50_ns"].as_f64().expect("a number")))
        };
        let deliveries: BTreeMap<[Option<u64>; 2], f64> = rows.iter().flat_map(of_row).collect();
        let shown = section.split("<td").skip(1).filter_map(|rest| rest.split('>').next());
        // It is in the order of the topology.
        let shown: BTreeMap<[Option<u64>; 2], f64> = shown
            .filter(|tag| attribute(tag, "data-from").is_some())
            .map(|tag| {
                let pair = ["data-from", "data-to"].map(|name| attribute(tag, name)?.parse().ok());
                (pair, attribute(tag, "data-value").and_then(|it| it.parse().ok()).expect("a number"))
            })
            .collect();
        assert_eq!(shown, deliveries, "the heat map of cell {index}");
        if cells[index]["observe"] == "guest" {
            let vcpus = cells[index]["vcpus"].as_u64().and_then(|it| usize::try_from(it).ok()).expect("a number");
            assert_eq!(shown.len(), vcpus * (vcpus - 1), "everybody calls everybody else");
        }
    }
    // A picture for all, and for each cell curves, two rounds, and arrivals if there is more than one target.
    let pictures = shown.dom.matches("<svg role=\"img\"").count();
    let several = cells.iter().filter(|cell| cell["vcpus"] == 3).count();
    assert_eq!(pictures, 1 + 3 * cells.len() + several);
    let round_trip = &cells[0]["metrics"]["round_trip"]["n"];
    assert_eq!(round_trip, &cells[0]["rounds"], "the rounds of the curves");
}

#[test]
fn it_fits_a_small_screen() {
    let _turn = turn();
    let (Some(_), Some(browser)) = (hypervisor(), browser()) else { return };
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let (html, _) = page(directory.path());
    let page = fs::read_to_string(&html).expect("the page");
    // The browser's own windows do not get that narrow.
    let measure = "<script>document.documentElement.style.width = '360px'; document.body.style.width = '360px';
        const wide = [...document.querySelectorAll('body *')].filter(it => !it.closest('.scroll') && !it.classList.contains('skip')
            && it.getBoundingClientRect().right > 361).map(it => it.outerHTML.slice(0, 80));
        document.body.setAttribute('data-wide', wide.join('|'));</script></body>";
    let probe = directory.path().join("probe.html");
    fs::write(&probe, page.replace("</body>", measure)).expect("a file");
    let shown = show(browser, &probe, 500);
    let body = shown.dom.split("<body").nth(1).and_then(|rest| rest.split('>').next()).expect("a body");
    assert_eq!(attribute(body, "data-wide"), Some(""), "what is wider than the screen outside of a scroll area");
}

#[test]
fn html_to_standard_output_is_all_that_is_there() {
    let _turn = turn();
    let Some(_) = hypervisor() else { return };
    let quick = ["--route", "xapic", "--target-state", "halt", "--observe", "guest", "--rounds", "5", "--vcpus", "2"];
    let ran = kipi(quick.iter().chain(&["--html", "-"]));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.stdout.starts_with("<!DOCTYPE html>") && ran.stdout.ends_with("</html>\n"), "{}", ran.stdout);
    let both = kipi(quick.iter().chain(&["--html", "-", "--json", "-"]));
    assert_eq!(both.status, Some(2), "{both:?}");
    assert!(both.complaint().contains("--html"), "{both:?}");
}

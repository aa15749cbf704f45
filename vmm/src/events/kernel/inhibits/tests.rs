use super::*;
use std::fs;
use std::path::Path;

/// As Linux 6.12 writes it.
const NAMED: &str = "name: kvm_apicv_inhibit_changed
ID: 1702
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:unsigned char common_flags;	offset:2;	size:1;	signed:0;
	field:unsigned char common_preempt_count;	offset:3;	size:1;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:int reason;	offset:8;	size:4;	signed:1;
	field:bool set;	offset:12;	size:1;	signed:0;
	field:unsigned long inhibits;	offset:16;	size:8;	signed:0;

print fmt: \"%s reason=%u, inhibits=0x%lx%s%s\", REC->set ? \"set\" : \"cleared\", REC->reason, (REC->inhibits), (REC->inhibits) ? \" \" : \"\", (REC->inhibits) ? __print_flags(REC->inhibits, \"|\", { ((((1UL))) << (APICV_INHIBIT_REASON_DISABLED)), \"DISABLED\" }, { ((((1UL))) << (APICV_INHIBIT_REASON_HYPERV)), \"HYPERV\" }, { ((((1UL))) << (APICV_INHIBIT_REASON_ABSENT)), \"ABSENT\" }, { ((((1UL))) << (APICV_INHIBIT_REASON_BLOCKIRQ)), \"BLOCKIRQ\" }) : \"\"
";

/// As Linux 5.18 to 6.9 write it.
const NUMBERED: &str = "name: kvm_apicv_inhibit_changed
ID: 1411
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:int reason;	offset:8;	size:4;	signed:1;
	field:bool set;	offset:12;	size:1;	signed:0;
	field:unsigned long inhibits;	offset:16;	size:8;	signed:0;

print fmt: \"%s reason=%u, inhibits=0x%lx\", REC->set ? \"set\" : \"cleared\", REC->reason, REC->inhibits
";

const HEADER: &str = "	field: u64 timestamp;	offset:0;	size:8;	signed:0;
	field: local_t commit;	offset:8;	size:8;	signed:1;
	field: int overwrite;	offset:8;	size:1;	signed:1;
	field: char data;	offset:16;	size:4080;	signed:0;
";

/// A record of the trace buffer: so long after the one before, in this thread.
fn record(id: u16, delta: u32, thread: u32, [reason, set]: [u32; 2], inhibits: u64) -> Vec<u8> {
    const WORDS: u32 = 6;
    let mut bytes = (delta << 5 | WORDS).to_le_bytes().to_vec();
    bytes.extend(u32::from(id).to_le_bytes());
    bytes.extend([thread, reason, set].map(u32::to_le_bytes).concat());
    bytes.extend(inhibits.to_le_bytes());
    bytes
}

/// A page of the trace buffer that begins at `time`.
fn page(time: u64, records: &[Vec<u8>]) -> Vec<u8> {
    let data = records.concat();
    [time.to_le_bytes().to_vec(), (data.len() as u64).to_le_bytes().to_vec(), data].concat()
}

/// What holds at last, by the pages of several CPUs' buffers.
fn reasons(format: &str, release: &str, pages: &[Vec<u8>], threads: &[u32]) -> Option<Vec<String>> {
    let decoder = Decoder::parse(format, release).expect("a format");
    let layout = Layout::parse(HEADER).expect("a header");
    let mut changes = Vec::new();
    for page in pages {
        layout
            .records(page, |time, record| {
                changes.extend(decoder.decode(time, record));
            })
            .expect("a page");
    }
    last(changes, threads).map(|inhibits| decoder.reasons(inhibits))
}

const ID: u16 = 1702;
const MADE: [u32; 2] = [2, 1];
const IRQCHIP: [u32; 2] = [2, 0];

#[test]
fn a_machine_with_local_apics_in_kvm_has_no_reason_left() {
    let pages = [page(1_000, &[record(ID, 5, 71, MADE, 0b100), record(ID, 9, 71, IRQCHIP, 0)])];
    assert_eq!(reasons(NAMED, "6.12.0", &pages, &[71, 72]), Some(vec![]));
}

#[test]
fn the_last_change_counts_on_whichever_cpu_it_was() {
    let on_cpu0 = page(1_000, &[record(ID, 5, 71, MADE, 0b100), record(ID, 9, 71, IRQCHIP, 0)]);
    let on_cpu1 = page(1_500, &[record(ID, 0, 72, [1, 1], 0b1010)]);
    let expected = Some(vec!["HYPERV".to_owned(), "BLOCKIRQ".to_owned()]);
    assert_eq!(reasons(NAMED, "6.12.0", &[on_cpu1.clone(), on_cpu0.clone()], &[71, 72]), expected);
    assert_eq!(reasons(NAMED, "6.12.0", &[on_cpu1, on_cpu0], &[71]), Some(vec![]), "72 is of another machine");
}

#[test]
fn other_machines_and_other_tracepoints_say_nothing() {
    let others = [page(1_000, &[record(ID, 5, 90, MADE, 0b100), record(ID + 1, 5, 71, MADE, 0b100)])];
    assert_eq!(reasons(NAMED, "6.12.0", &others, &[71]), None);
    assert_eq!(reasons(NAMED, "6.12.0", &[], &[71]), None, "not seen");
}

#[test]
fn where_the_kernel_prints_no_names_they_are_its_releases() {
    let of = |release: &str, inhibits| {
        let pages = [page(0, &[record(1411, 0, 71, [0, 1], inhibits)])];
        reasons(NUMBERED, release, &pages, &[71]).expect("a change")
    };
    assert_eq!(of("5.19.17-2-generic", 1 << 5 | 1 << 7), ["X2APIC", "ABSENT"]);
    assert_eq!(of("6.1.0-44-amd64", 1 << 2 | 1 << 8), ["ABSENT", "reason 8"]);
    assert_eq!(of("6.8.0-31-generic", 1 << 5 | 1 << 9), ["APIC_ID_MODIFIED", "PIT_REINJ"]);
    assert_eq!(of("6.8.0-31-generic", 1 << 12), ["reason 12"]);
    assert_eq!(of("odd", 1), ["reason 0"]);
}

#[test]
fn another_format_is_refused() {
    assert!(Decoder::parse(&NAMED.replace("inhibits;", "others;"), "6.12.0").is_none());
    assert!(Decoder::parse("", "6.12.0").is_none());
}

/// A directory like an instance's, of one CPU with this page and these statistics.
fn instance(page: &[u8], stats: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |file: &str, bytes: &[u8]| {
        let path = directory.path().join(file);
        fs::create_dir_all(path.parent().expect("it is in a directory")).expect("a directory");
        fs::write(path, bytes).expect("a file");
    };
    for file in ["tracing_on", "buffer_size_kb", &format!("events/{TRACEPOINT}/enable")] {
        write(file, b"");
    }
    write("trace_clock", b"[local] global counter x86-tsc");
    write(&format!("events/{TRACEPOINT}/format"), NAMED.as_bytes());
    write("events/header_page", HEADER.as_bytes());
    write("per_cpu/cpu0/trace_pipe_raw", page);
    write("per_cpu/cpu0/stats", stats.as_bytes());
    directory
}

fn record_in(directory: &Path) -> Inhibits {
    Inhibits::on(Instance::made_up(directory.to_owned()), "6.12.0").expect("all files are there")
}

#[test]
fn times_are_of_a_clock_that_compares_across_cpus() {
    let directory = instance(&page(0, &[]), "");
    let inhibits = record_in(directory.path());
    assert_eq!(inhibits.instance.read("trace_clock").expect("a file"), "global");
}

#[test]
fn with_records_missing_nobody_knows_the_last() {
    const MISSED_EVENTS: u8 = 1 << 7;
    let whole = page(1_000, &[record(ID, 5, 71, MADE, 0b100), record(ID, 9, 71, IRQCHIP, 0)]);
    let stop = |page: &[u8], stats: &str| {
        let directory = instance(page, stats);
        record_in(directory.path()).stop(&[71])
    };
    assert_eq!(stop(&whole, "overrun: 0\ndropped events: 0\n").expect("all is there"), Some(vec![]));
    assert!(matches!(stop(&whole, "overrun: 2\ndropped events: 1\n"), Err(Error::Incomplete(3))));
    let mut behind_a_gap = whole;
    behind_a_gap[11] |= MISSED_EVENTS;
    assert!(matches!(stop(&behind_a_gap, "overrun: 0\n"), Err(Error::Incomplete(1))));
}

//! What a tracepoint's record looks like, as its `format` file says: no offset is taken from anywhere else.
//!
//! Documentation/trace/events.rst, "Event formats".

use std::collections::BTreeMap;
use thiserror::Error;

/// What is wrong with a format file.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the tracepoint's format says {0}")]
pub struct Error(&'static str);

/// Where a number lies in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    offset: usize,
    size: usize,
    signed: bool,
}

impl Field {
    /// The number in `record`, sign-extended if it has a sign; `None` if the record ends before it.
    pub fn read(self, record: &[u8]) -> Option<u64> {
        let bytes = record.get(self.offset..self.offset.checked_add(self.size)?)?;
        let mut wide = [0; 8];
        wide.get_mut(..self.size)?.copy_from_slice(bytes);
        let value = u64::from_le_bytes(wide);
        let unused = 64 - 8 * u32::try_from(self.size).ok()?;
        Some(if self.signed { ((value << unused).cast_signed() >> unused).cast_unsigned() } else { value })
    }
}

/// A tracepoint's format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// Its number in this kernel: the first field of its records.
    pub id: u16,
    fields: BTreeMap<String, Field>,
    /// What `__print_symbolic` prints for numbers, table by table, in their order.
    symbols: Vec<BTreeMap<u64, String>>,
}

impl Format {
    /// Reads a format file's text.
    ///
    /// # Errors
    /// There is no number, or no field.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let id = text
            .lines()
            .find_map(|line| line.strip_prefix("ID:"))
            .and_then(|id| id.trim().parse().ok())
            .ok_or(Error("nothing about its ID"))?;
        let fields: BTreeMap<String, Field> = text.lines().filter_map(parse_field).collect();
        if fields.is_empty() {
            return Err(Error("nothing about its fields"));
        }
        let print = text.lines().find(|line| line.starts_with("print fmt:")).unwrap_or_default();
        let symbols = print.split("__print_symbolic(").skip(1).map(parse_symbols).collect();
        Ok(Self { id, fields, symbols })
    }

    /// Where the field of this name lies, if it is a number of at most eight bytes.
    pub fn field(&self, name: &str) -> Option<Field> {
        self.fields.get(name).copied()
    }

    /// The word for `number` in the print format's symbol table of that rank.
    pub fn symbol(&self, table: usize, number: u64) -> Option<&str> {
        self.symbols.get(table)?.get(&number).map(String::as_str)
    }
}

/// `field:unsigned int exit_reason; offset:8; size:4; signed:0;`, with tabs.
fn parse_field(line: &str) -> Option<(String, Field)> {
    let mut parts = line.trim().strip_prefix("field:")?.split(';').map(str::trim);
    let name = parts.next()?.rsplit(' ').next()?;
    let mut number = |key: &str| parts.next()?.strip_prefix(key)?.parse::<usize>().ok();
    let field = Field { offset: number("offset:")?, size: number("size:")?, signed: number("signed:")? != 0 };
    ([1, 2, 4, 8].contains(&field.size) && !name.contains('[')).then(|| (name.to_owned(), field))
}

/// `REC->x & 0xffff, { 0, "NAME" }, { 0x040 + 1, "OTHER" }) …`
fn parse_symbols(text: &str) -> BTreeMap<u64, String> {
    let mut symbols = BTreeMap::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        // The end of this table is before its next entry.
        if rest[..open].contains(')') && !symbols.is_empty() {
            break;
        }
        let Some(close) = rest[open..].find('}').map(|close| open + close) else { break };
        if let Some((number, name)) = rest[open + 1..close].split_once(',') {
            let sum: Option<u64> = number.split('+').map(parse_number).sum();
            if let Some(number) = sum {
                symbols.insert(number, name.trim().trim_matches('"').to_owned());
            }
        }
        rest = &rest[close + 1..];
    }
    symbols
}

fn parse_number(text: &str) -> Option<u64> {
    let text = text.trim().trim_end_matches(['U', 'L', 'u', 'l']);
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse::<i64>().ok().map(i64::cast_unsigned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const KVM_EXIT: &str = "name: kvm_exit
ID: 103
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:unsigned char common_flags;	offset:2;	size:1;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:unsigned int exit_reason;	offset:8;	size:4;	signed:0;
	field:unsigned long guest_rip;	offset:16;	size:8;	signed:0;
	field:u32 isa;	offset:24;	size:4;	signed:0;
	field:char comm[16];	offset:28;	size:16;	signed:0;

print fmt: \"vcpu %u reason %s%s\", REC->vcpu_id, (REC->isa == 1) ? __print_symbolic(REC->exit_reason & 0xffff, { 0, \
                                       \"EXCEPTION_NMI\" }, { 12, \"HLT\" }) : __print_symbolic(REC->exit_reason, { \
                                       0x040 + 1, \"DB excp\" }, { 0x078, \"hlt\" }, { -1, \"invalid\" }), \
                                       (REC->isa == 1) ? __print_flags(REC->exit_reason & ~0xffff, \" \", { \
                                       0x80000000, \"FAILED_VMENTRY\" }) : \"\"
";

    #[test]
    fn fields_are_found_by_name_and_arrays_are_left_out() {
        let format = Format::parse(KVM_EXIT).unwrap();
        assert_eq!(format.id, 103);
        assert_eq!(format.field("guest_rip"), Some(Field { offset: 16, size: 8, signed: false }));
        assert_eq!(format.field("common_pid"), Some(Field { offset: 4, size: 4, signed: true }));
        assert_eq!(format.field("comm[16]"), None);
        assert_eq!(format.field("nothing"), None);
    }

    #[test]
    fn symbols_are_read_table_by_table() {
        let format = Format::parse(KVM_EXIT).unwrap();
        assert_eq!(format.symbol(0, 12), Some("HLT"));
        assert_eq!(format.symbol(0, 0x78), None, "the second table's");
        assert_eq!(format.symbol(1, 0x78), Some("hlt"));
        assert_eq!(format.symbol(1, 0x41), Some("DB excp"));
        assert_eq!(format.symbol(1, u64::MAX), Some("invalid"));
        assert_eq!(format.symbol(1, 0x8000_0000), None, "flags are no symbols");
        assert_eq!(format.symbol(2, 0), None);
    }

    #[test]
    fn numbers_have_their_size_and_sign() {
        let record = [0xFE, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4];
        let field = |offset, size, signed| Field { offset, size, signed };
        assert_eq!(field(0, 4, true).read(&record), Some((-2_i64).cast_unsigned()));
        assert_eq!(field(0, 4, false).read(&record), Some(0xFFFF_FFFE));
        assert_eq!(field(4, 2, false).read(&record), Some(0x0201));
        assert_eq!(field(0, 8, true).read(&record), Some(0x0403_0201_FFFF_FFFE));
        assert_eq!(field(6, 4, false).read(&record), None, "the record ends before");
        assert_eq!(field(usize::MAX, 4, false).read(&record), None);
    }

    #[test]
    fn a_text_that_is_no_format_is_an_error() {
        assert_eq!(Format::parse(""), Err(Error("nothing about its ID")));
        assert_eq!(Format::parse("ID: 7\n"), Err(Error("nothing about its fields")));
        assert!(
            Format::parse("ID: 7\nfield:int x;\toffset:0;\tsize:4;\tsigned:1;\nprint fmt: __print_symbolic({").is_ok()
        );
    }
}

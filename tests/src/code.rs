//! The code of the guest image as it was built, for tests that follow it instruction by instruction.

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess, Register, UsedMemory,
};
use kipi::vm::image::EMBEDDED;
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSection, ObjectSymbol};
use std::collections::{BTreeMap, HashSet, VecDeque};

/// The image.
///
/// # Panics
/// If it is no ELF file.
pub fn image() -> ElfFile64<'static, LittleEndian> {
    ElfFile64::parse(EMBEDDED).expect("the image is an ELF file")
}

/// The address of each of its symbols.
fn symbols() -> BTreeMap<String, u64> {
    let image = image();
    let named = image.symbols().filter_map(|symbol| Some((symbol.name().ok()?.to_owned(), symbol.address())));
    named.collect()
}

/// The address of a symbol.
///
/// # Panics
/// If there is none of that name.
pub fn symbol(name: &str) -> u64 {
    *symbols().get(name).unwrap_or_else(|| panic!("the image has no symbol {name}"))
}

/// The address of each symbol, by its name in Rust.
pub fn demangled() -> BTreeMap<String, u64> {
    symbols().iter().map(|(symbol, &at)| (format!("{:#}", rustc_demangle::demangle(symbol)), at)).collect()
}

/// Address and contents of a section.
///
/// # Panics
/// If there is none of that name.
pub fn section(name: &str) -> (u64, &'static [u8]) {
    let image = image();
    let section = image.section_by_name(name).unwrap_or_else(|| panic!("the image has no section {name}"));
    (section.address(), section.data().expect("the section is in the file"))
}

/// A place on a way through the code: next instruction, return addresses, and how far the way has come.
type Place = (u64, Vec<u64>, usize);

/// The instruction at an address.
///
/// # Panics
/// If it is not in the text.
pub fn instruction_at(ip: u64) -> Instruction {
    let (text, bytes) = section(".text");
    let offset = ip.checked_sub(text).and_then(|offset| usize::try_from(offset).ok());
    let code = offset.and_then(|offset| bytes.get(offset..)).unwrap_or_else(|| panic!("{ip:#x} is not in the text"));
    Decoder::with_ip(64, code, ip, DecoderOptions::NONE).decode()
}

/// Whether an instruction stores to memory outside of the stack.
pub fn stores(instruction: &Instruction) -> bool {
    let mut info = InstructionInfoFactory::new();
    let is_store = |it: &UsedMemory| it.access() == OpAccess::Write && it.base() != Register::RSP;
    info.info(instruction).used_memory().iter().any(is_store)
}

/// The number of instructions on the shortest way from `from` to one that `is_end`, that one included.
///
/// `progress` is what is to be known of the way behind an instruction, zero at the start; `None` where it leads nowhere. So does
/// an indirect call, unless `callee` says where the one at an address goes.
pub fn shortest_way(
    from: u64,
    progress: impl Fn(usize, &Instruction) -> Option<usize>,
    callee: impl Fn(u64) -> Option<u64>,
    is_end: impl Fn(usize, &Instruction) -> bool,
) -> Option<usize> {
    const DEEPEST: usize = 16;
    let mut seen: HashSet<Place> = HashSet::new();
    let mut queue = VecDeque::from([((from, Vec::new(), 0), 1)]);
    while let Some((place, count)) = queue.pop_front() {
        if !seen.insert(place.clone()) {
            continue;
        }
        let (ip, mut stack, before) = place;
        let instruction = instruction_at(ip);
        if is_end(before, &instruction) {
            return Some(count);
        }
        let Some(after) = progress(before, &instruction) else { continue };
        let (next, target) = (instruction.next_ip(), instruction.near_branch_target());
        let mut go = |ip: u64, stack: Vec<u64>| queue.push_back(((ip, stack, after), count + 1));
        match instruction.flow_control() {
            FlowControl::Next => go(next, stack),
            // A hypercall comes back to the instruction after it.
            FlowControl::Call if !instruction.is_call_near() => go(next, stack),
            FlowControl::UnconditionalBranch => go(target, stack),
            FlowControl::ConditionalBranch => {
                go(target, stack.clone());
                go(next, stack);
            }
            FlowControl::Call if stack.len() < DEEPEST => {
                stack.push(next);
                go(target, stack);
            }
            FlowControl::IndirectCall => {
                if let Some(target) = callee(ip) {
                    stack.push(next);
                    go(target, stack);
                }
            }
            // Without a caller it is the IRETQ that ends the interrupt.
            FlowControl::Return => {
                if let Some(caller) = stack.pop() {
                    go(caller, stack);
                }
            }
            // An indirect jump cannot be followed, and #UD leads nowhere.
            _ => {}
        }
    }
    None
}

/// Follows no indirect call.
pub fn no_callee(_: u64) -> Option<u64> {
    None
}

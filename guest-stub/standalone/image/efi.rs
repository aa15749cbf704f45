//! The door of UEFI: an application that takes from firmware what it has to tell, and the machine.
//!
//! This image runs at its own addresses from the first instruction of Rust on, in page tables that the [`entry`] makes. Firmware
//! runs in its own, which map memory to itself: each call of it changes from the one to the other, and back.

mod entry;

use crate::space;
use crate::words;
use core::cell::UnsafeCell;
use core::fmt::{self, Write as _};
use core::mem::offset_of;
use entry::efi_call;
use kipi_standalone::boot::Found;
use kipi_standalone::efi::{self, Error, System};
use kipi_standalone::memory::Physical;
use kipi_standalone::plan;
use uefi_raw::protocol::console::SimpleTextOutputProtocol;
use uefi_raw::protocol::loaded_image::LoadedImageProtocol;
use uefi_raw::table::boot::BootServices;
use uefi_raw::{Guid, Status};

/// Bytes of the memory map: more than a thousand descriptors. Firmware of large servers has some hundreds.
const MAP_BYTES: usize = 0x1_0000;
/// How often the memory map is read: firmware may change it while it is being left, which is then to be tried again.
const TRIES: usize = 8;

/// What was found, until [`found`] takes it.
struct Handover(UnsafeCell<Option<Result<Found, Error>>>);

// SAFETY: one processor runs, and `enter` has returned before `found` is called.
unsafe impl Sync for Handover {}

static HANDOVER: Handover = Handover(UnsafeCell::new(None));

#[repr(C, align(8))]
struct MemoryMap(UnsafeCell<[u8; MAP_BYTES]>);

// SAFETY: as that of `Handover`.
unsafe impl Sync for MemoryMap {}

static MEMORY_MAP: MemoryMap = MemoryMap(UnsafeCell::new([0; MAP_BYTES]));

/// What firmware handed over, for whoever comes in by its door: once.
pub(crate) fn found() -> Result<Found, Error> {
    // SAFETY: see `Handover`.
    let found = unsafe { (*HANDOVER.0.get()).take() };
    found.unwrap_or_else(|| unreachable!("`enter` has filled it in"))
}

/// Memory by its physical address, as firmware maps it.
struct OfFirmware;

impl Physical for OfFirmware {
    fn read(&self, address: u64, bytes: &mut [u8]) -> bool {
        const HIDDEN: core::ops::Range<u64> = 1 << 39..2 << 39;
        let Some(end) = address.checked_add(bytes.len() as u64) else { return false };
        if address < HIDDEN.end && end > HIDDEN.start {
            return false;
        }
        for (offset, byte) in bytes.iter_mut().enumerate() {
            // SAFETY: firmware maps all of its memory to itself, and names the addresses of structures there; reading them has no
            // effect.
            *byte = unsafe { ((address + offset as u64) as *const u8).read_volatile() };
        }
        true
    }
}

/// The first of Rust, on the image's own stack. Unless it is a success, firmware goes on, and is told this.
extern "sysv64" fn enter(image: u64, system_table: u64) -> Status {
    match take_over(image, system_table) {
        Ok(found) => {
            // SAFETY: see `Handover`.
            unsafe { *HANDOVER.0.get() = Some(found) };
            Status::SUCCESS
        }
        Err(status) => status,
    }
}

/// Asks for all that is of use, and leaves firmware. What is wrong with the memory map is known only when nobody can be told but the
/// serial line.
fn take_over(image: u64, system_table: u64) -> Result<Result<Found, Error>, Status> {
    let system = System::read(system_table, &OfFirmware).map_err(|_| Status::INCOMPATIBLE_VERSION)?;
    let firmware = Firmware { services: system.boot_services };
    let command_line = efi::load_options(firmware.loaded_image(image)?, &OfFirmware).map_err(|_| Status::LOAD_ERROR)?;
    if system.console != 0 {
        say_where_results_go(system.console, plan::Console::chosen_by(words::of(&command_line)));
    }
    let (map, descriptor_bytes) = firmware.leave(image)?;
    Ok(efi::memory_map(map, descriptor_bytes).map(|memory| Found { memory, rsdp: system.rsdp, command_line }))
}

/// Text in UTF-16 that ends in a zero; what does not fit is left out.
struct Units {
    units: [u16; 120],
    length: usize,
}

impl fmt::Write for Units {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (place, unit) in self.units[self.length..].iter_mut().zip(text.encode_utf16()) {
            *place = unit;
            self.length += 1;
        }
        self.units[self.units.len() - 1] = 0;
        Ok(())
    }
}

/// On the screen, where nothing else will be.
fn say_where_results_go(console: u64, results: plan::Console) {
    let mut text = Units { units: [0; _], length: 0 };
    let _ = write!(text, "kipi: the results go to {results}\r\n");
    let function = word(console + offset_of!(SimpleTextOutputProtocol, output_string) as u64);
    // Who has no screen misses nothing.
    // SAFETY: firmware's function, of a protocol that the system table names; the text ends in a zero.
    let _ = unsafe { efi_call(function, &[console, address(&text.units), 0, 0, 0]) };
}

struct Firmware {
    /// The boot services' table.
    services: u64,
}

impl Firmware {
    /// Calls the service whose address is at this offset of the table.
    ///
    /// # Safety
    /// The arguments are as UEFI specifies them, pointers physical addresses.
    unsafe fn call(&self, service: usize, arguments: [u64; 5]) -> Result<(), Status> {
        let function = word(self.services + service as u64);
        // SAFETY: the caller's promise, and the table is firmware's.
        match unsafe { efi_call(function, &arguments) } {
            Status::SUCCESS => Ok(()),
            status => Err(status),
        }
    }

    /// Where the protocol is that tells how `image` was loaded.
    fn loaded_image(&self, image: u64) -> Result<u64, Status> {
        static GUID: Guid = LoadedImageProtocol::GUID;
        let mut interface = 0u64;
        let arguments = [image, address(&GUID), address_mut(&mut interface), 0, 0];
        // SAFETY: HandleProtocol (7.3.7) takes a handle, a GUID, and room for a pointer.
        unsafe { self.call(offset_of!(BootServices, handle_protocol), arguments)? };
        Ok(interface)
    }

    /// Ends boot services. The memory map as it then is, and the bytes of each descriptor.
    fn leave(&self, image: u64) -> Result<(&'static [u8], usize), Status> {
        let mut last = Status::ABORTED;
        for _ in 0..TRIES {
            let (mut bytes, mut key, mut descriptor_bytes, mut version) = (MAP_BYTES as u64, 0u64, 0u64, 0u32);
            let arguments = [
                address_mut(&mut bytes),
                space::physical(MEMORY_MAP.0.get() as u64),
                address_mut(&mut key),
                address_mut(&mut descriptor_bytes),
                address_mut(&mut version),
            ];
            // SAFETY: GetMemoryMap (7.2.3) takes room for a map, its size, and room for what else it says.
            unsafe { self.call(offset_of!(BootServices, get_memory_map), arguments)? };
            // SAFETY: ExitBootServices (7.4.6) takes the image's handle and the map's key.
            match unsafe { self.call(offset_of!(BootServices, exit_boot_services), [image, key, 0, 0, 0]) } {
                Ok(()) => {
                    // SAFETY: firmware, which alone has written it, is over.
                    let map: &'static [u8; MAP_BYTES] = unsafe { &*MEMORY_MAP.0.get() };
                    return Ok((&map[..(bytes as usize).min(MAP_BYTES)], descriptor_bytes as usize));
                }
                Err(status) => last = status,
            }
        }
        Err(last)
    }
}

/// A word of firmware's; zero where it cannot be read.
fn word(address: u64) -> u64 {
    OfFirmware.u64(address, 0).unwrap_or_default()
}

/// The physical address of something of this image's, for firmware to read.
fn address<T>(of: &T) -> u64 {
    space::physical(core::ptr::from_ref(of) as u64)
}

/// The physical address of something of this image's, for firmware to write.
fn address_mut<T>(of: &mut T) -> u64 {
    space::physical(core::ptr::from_mut(of) as u64)
}

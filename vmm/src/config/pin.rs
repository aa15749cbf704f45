//! Which CPUs the vCPUs' threads run on.

use thiserror::Error;

/// Where vCPU threads run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// Each on the next of the CPUs that this process may use.
    Auto,
    /// Wherever the scheduler puts them.
    None,
    /// Each on the next of these.
    List(Vec<usize>),
}

/// Why a pin cannot be had.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// A CPU that is not there, or not allowed.
    #[error("this process may not use CPU {cpu} (it may use {})", list(allowed))]
    NoSuchCpu {
        cpu: usize,
        /// Those that could be named.
        allowed: Vec<usize>,
    },
}

/// CPU numbers with commas between.
pub(crate) fn list(cpus: &[usize]) -> String {
    cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// The CPUs that `pin` means, where `allowed` may be used; none: not pinned.
///
/// # Errors
/// [`Error::NoSuchCpu`].
pub fn resolve_pin(pin: Pin, allowed: &[usize]) -> Result<Vec<usize>, Error> {
    match pin {
        Pin::Auto => Ok(allowed.to_vec()),
        Pin::None => Ok(Vec::new()),
        Pin::List(cpus) => match cpus.iter().find(|cpu| !allowed.contains(cpu)) {
            Some(&cpu) => Err(Error::NoSuchCpu { cpu, allowed: allowed.to_vec() }),
            None => Ok(cpus),
        },
    }
}

/// The CPU that a machine's thread of this number, a vCPU's or a native one, is pinned to by `pin`, which [`resolve_pin`] gave;
/// `None`: it is not pinned.
pub fn cpu_of(pin: &[usize], thread: usize) -> Option<usize> {
    pin.get(thread.checked_rem(pin.len())?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_checked_against_what_is_allowed() {
        assert_eq!(resolve_pin(Pin::Auto, &[2, 3]), Ok(vec![2, 3]));
        assert_eq!(resolve_pin(Pin::None, &[2, 3]), Ok(vec![]));
        assert_eq!(resolve_pin(Pin::List(vec![3, 3, 2]), &[2, 3]), Ok(vec![3, 3, 2]));
        assert_eq!([0, 1, 2].map(|vcpu| cpu_of(&[5, 7], vcpu)), [Some(5), Some(7), Some(5)]);
        assert_eq!(cpu_of(&[], 3), None);
        let error = resolve_pin(Pin::List(vec![2, 99]), &[2, 3]).unwrap_err();
        assert_eq!(error.to_string(), "this process may not use CPU 99 (it may use 2,3)");
    }
}

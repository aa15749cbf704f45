//! How many there are of something, in words.

/// `1 cell`, `2 cells`: the number, and the noun in the form that goes with it.
pub fn count(number: impl TryInto<u64>, noun: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        let words = [0, 1, 2].map(|number: u32| count(number, "cell"));
        assert_eq!(words, ["0 cells", "1 cell", "2 cells"]);
    }
}

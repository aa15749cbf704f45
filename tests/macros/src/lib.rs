//! The attribute of kipi's integration tests, which are run by a harness that knows tests which were skipped (`kipi_tests::harness`).

use proc_macro::{TokenStream, TokenTree};

/// Makes a function a test of the harness. To be imported under its own name, in place of the built-in attribute, which does nothing
/// without the built-in harness.
///
/// # Panics
/// On anything but a function.
#[proc_macro_attribute]
pub fn test(_: TokenStream, item: TokenStream) -> TokenStream {
    let is_fn = |token: &TokenTree| matches!(token, TokenTree::Ident(word) if word.to_string() == "fn");
    let name = item.clone().into_iter().skip_while(|token| !is_fn(token)).nth(1).expect("a function");
    let test = format!(
        "::kipi_tests::inventory::submit! {{ \
         ::kipi_tests::Test {{ path: concat!(module_path!(), \"::{name}\"), run: {name} }} }}"
    );
    item.into_iter().chain(test.parse::<TokenStream>().expect("Rust")).collect()
}

use super::*;
use crate::report::check::fixture::{HOSTILE, TAMED};
use crate::report::comparison::hostile;
use crate::results::comparison::fixture::comparison;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// What a reader sees: the texts of cells, items and paragraphs, one each, and the HTML in between.
#[derive(Debug, Default)]
struct Seen {
    tables: Vec<Vec<String>>,
    items: Vec<String>,
    texts: String,
    html: Vec<String>,
}

/// Reads the comment as GitHub does, and accepts no markup but tables, lists, paragraphs and strong text.
fn seen(markdown: &str) -> Seen {
    let mut seen = Seen::default();
    let mut text = String::new();
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH) {
        match event {
            Event::Start(Tag::Table(_)) => seen.tables.push(Vec::new()),
            Event::Start(Tag::TableCell | Tag::Item | Tag::Paragraph) => text.clear(),
            Event::End(TagEnd::TableCell) => seen.tables.last_mut().expect("a table").push(text.clone()),
            Event::End(TagEnd::Item) => seen.items.push(text.clone()),
            Event::Text(words) => {
                text.push_str(&words);
                seen.texts.push_str(&words);
            }
            Event::InlineHtml(html) | Event::Html(html) => seen.html.push(html.trim().to_owned()),
            Event::Start(Tag::TableHead | Tag::TableRow | Tag::List(None) | Tag::Strong | Tag::HtmlBlock)
            | Event::End(_) => {}
            other => panic!("{other:?} in {markdown}"),
        }
    }
    seen
}

#[test]
fn the_verdict_comes_first_and_what_is_the_same_is_folded() {
    let text = render(&comparison());
    let first = text.lines().next().unwrap();
    assert_eq!(
        first,
        "❌ **kipi: worse** · cells: 1 slower, 1 faster, 2 undecided, 1 same · threshold 5 % · 10 and 10 runs"
    );
    let seen = seen(&text);
    let [open, tails, same, references] = &seen.tables[..] else { panic!("{:?}", seen.tables) };
    assert_eq!((open.len(), tails.len(), same.len(), references.len()), (5 * 7, 3 * 5, 2 * 7, 3 * 7));
    assert_eq!(
        open[7..14],
        [
            "x2apic, all-but-self, halt, 2 vCPUs, guest",
            "60.0 µs",
            "64.8 µs",
            "+8.0 %",
            "xapic, all-but-self, halt, 2 vCPUs, guest",
            "+6.0 % (+5.0 to +7.0 %)",
            "slower"
        ]
    );
    let folded = text.find("<details>").unwrap();
    assert!(text[..folded].contains("1 lost") && !text[..folded].contains("| same |"), "{text}");
    assert!(text[..folded].contains("about 4 more runs a side would decide it"), "{text}");
}

#[test]
fn sides_that_are_not_comparable_say_why() {
    let text = render(&Comparison { verdict: Overall::NotComparable, cells: Vec::new(), ..comparison() });
    let begin = "🚫 **kipi: not comparable**: <code>settings kvm.halt&#95;poll&#95;ns: 200000 → 0</code>";
    assert!(text.starts_with(&format!("{begin} · cells: none that both sides have · ")), "{text}");
}

#[test]
fn texts_of_others_are_neither_markup_nor_mentions() {
    for text in [HOSTILE, "a|b `c` *d* _e_ [f](http://g) <h> </code> &amp; ~~i~~ # @j #1 \\", "\n\n# k\n- l\n| m |"] {
        let markdown = render(&hostile(text));
        let seen = seen(&markdown);
        let known = ["<code>", "</code>", "<details><summary>", "</details>"];
        assert!(seen.html.iter().all(|html| known.iter().any(|known| html.starts_with(known))), "{:?}", seen.html);
        assert_eq!(seen.tables.len(), 4, "{markdown}");
        assert!(!markdown.contains(['@', '`', '\\']), "{markdown}");
    }
    assert!(seen(&render(&hostile(HOSTILE))).texts.contains(TAMED));
}

#[test]
fn what_a_comment_has_no_room_for_is_counted() {
    let mut comparison = comparison();
    let same = comparison.cells.iter().find(|row| row.verdict == Verdict::Same).unwrap().clone();
    comparison.cells.extend(std::iter::repeat_n(same, 1000));
    let markdown = render(&comparison);
    assert!(markdown.chars().count() <= MOST_CHARACTERS + 1, "{}", markdown.chars().count());
    let seen = seen(&markdown);
    let rows = |table: &[String]| table.len() / 7 - 1;
    let left_out = seen.texts.split(" more lines are not in this comment").next().unwrap();
    let left_out = left_out.rsplit(|it: char| !it.is_ascii_digit()).next().unwrap().parse::<usize>().unwrap();
    assert_eq!((rows(&seen.tables[0]), rows(&seen.tables[2]) + left_out), (4, 1001), "{left_out}");
    assert!(markdown.ends_with("</details>\n"), "what stands behind it is there, if only in a word");
}

//! What is a batch, and what is refused.

use super::*;

/// First line, last line and times of a batch.
type Lines = (u32, u32, u32);

fn cuts(text: &str) -> Vec<Lines> {
    batches("a.sql", text.as_bytes()).unwrap().iter().map(|batch| (batch.first, batch.last, batch.times)).collect()
}

fn fault(text: &[u8]) -> String {
    batches("a.sql", text).unwrap_err().to_string()
}

#[test]
fn lines_with_go_end_batches() {
    let table: &[(&str, &[Lines])] = &[
        ("", &[]),
        ("GO", &[]),
        ("SELECT 1", &[(1, 1, 1)]),
        ("SELECT 1\nGO", &[(1, 1, 1)]),
        ("SELECT 1\nGO\nSELECT 2\nSELECT 3\n\nGO\n", &[(1, 1, 1), (3, 4, 1)]),
        ("SELECT 1\r\ngo\r\nSELECT 2\r\nGo  \r\n", &[(1, 1, 1), (3, 3, 1)]),
        ("\u{feff}SELECT 1\n \t gO -- the end\nSELECT 2", &[(1, 1, 1), (3, 3, 1)]),
        ("SELECT 1\nGO--x\nSELECT 2\nGO 3\nSELECT 3\nGO 10000 -- x", &[(1, 1, 1), (3, 3, 3), (5, 5, 10_000)]),
        ("\n\nSELECT 1\n\nGO\n\n\n-- two\nSELECT 2", &[(1, 3, 1), (6, 9, 1)]),
    ];
    for (text, expected) in table {
        assert_eq!(cuts(text), *expected, "{text:?}");
    }
}

#[test]
fn what_only_looks_like_go_is_text() {
    let table = [
        "SELECT 1 GO",
        "GOTO done\ndone:\nSELECT 1",
        "go_on\nGO1\nGO@x",
        "/* \nGO\n*/ SELECT 1",
        "/* a /* b */\nGO\n*/ SELECT 1",
        "SELECT '\nGO\n'",
        "SELECT N'it''s\nGO\n'",
        "SELECT 'a'''\n+ N'\nGO\n'",
        "SELECT \"\nGO\n\"\"\nGO\n\"",
        "SELECT [\nGO\n]]\nGO\n]",
        "SELECT '/*', [--], \"'\", [']",
        "SELECT 1 -- ' [ /*\n, 2",
        "SELECT '--\nGO\n'",
        "-- GO\nSELECT 1",
        "SELECT 1 /* ' */ - /* [ */ 2",
        "SELECT 4/2*3 - -1",
    ];
    for text in table {
        let found = batches("a.sql", text.as_bytes()).unwrap();
        assert_eq!(found.len(), 1, "{text:?} {found:?}");
        assert_eq!(found[0].text, text);
    }
}

#[test]
fn text_after_a_comment_or_a_string_has_batches_again() {
    assert_eq!(cuts("/* a /* b */ */\nSELECT '''' \nGO\nSELECT 2"), [(1, 2, 1), (4, 4, 1)]);
    assert_eq!(cuts("SELECT [a]]b']\nGO\nSELECT 2"), [(1, 1, 1), (3, 3, 1)]);
    assert_eq!(cuts("SELECT 'a'\n'\nGO\n'\nGO\nSELECT ''"), [(1, 4, 1), (6, 6, 1)]);
}

#[test]
fn batches_without_anything_to_run_are_left_out() {
    assert_eq!(cuts("-- nothing\nGO\n/* nor\nhere */\n\nGO 5\nSELECT 1\nGO\n\n"), [(7, 7, 1)]);
}

#[test]
fn the_text_of_a_batch_keeps_its_line_ends_and_loses_the_byte_order_mark() {
    let found = batches("a.sql", "\u{feff}\r\nSELECT 'ä\r\n'\r\nGO\r\nSELECT 2\r\n".as_bytes()).unwrap();
    assert_eq!(found[0].text, "\r\nSELECT 'ä\r\n'\r\n");
    assert_eq!(found[1].text, "SELECT 2\r\n");
}

#[test]
fn a_count_that_cannot_be_is_refused() {
    for bad in ["GO 0", "GO 10001", "GO -1", "GO x", "GO;", "GO 5;", "GO (1)", "GO 1 2", "GO /* x */", "GO 99999999999"]
    {
        let text = format!("SELECT 1\n{bad}\n");
        assert!(fault(text.as_bytes()).starts_with("a.sql:2: only a count from 1 to 10000"), "{bad}");
    }
    for bad in ["/* x */ GO", "x\n*/ GO 5", "/* a /* b */ */ go -- x"] {
        let text = if bad.starts_with('x') { format!("/*{bad}") } else { bad.to_owned() };
        assert!(fault(text.as_bytes()).contains("GO stands behind a comment"), "{bad}");
    }
    assert_eq!(cuts("SELECT 1 /* x */ GO"), [(1, 1, 1)], "a name of the column");
}

#[test]
fn what_only_sqlcmd_understands_is_refused_where_it_stands() {
    for bad in [
        ":r other.sql",
        "  :setvar x 1",
        ":on error exit",
        ":CONNECT other",
        ":out x",
        ":exit",
        "!!rm x",
        "!! dir",
        "QUIT",
        " exit ",
        "SELECT $(x)",
        "SELECT 1 FROM $(db-1).dbo.t",
        "USE [$(db)]",
    ] {
        let text = format!("SELECT 1\nGO\n{bad}\nSELECT 2\n");
        let fault = fault(text.as_bytes());
        assert!(fault.starts_with("a.sql:3: ") && fault.contains("of sqlcmd, which does not run here: "), "{fault}");
    }
}

#[test]
fn what_sqlcmd_would_take_is_ordinary_text_in_strings_and_comments() {
    for text in [
        "SELECT N'$(x)', \"$(x)\"",
        "-- $(x)\nSELECT 1",
        "/*\n:r x\n!!x\n$(x) */ SELECT 1",
        "SELECT '\n:r x\nquit\n'",
        "SELECT $ , $1.5, $(1 + 2), $()",
        "GRANT CONNECT ON ENDPOINT\n::e TO u",
        "again:\nGOTO again",
        "SELECT exit FROM t",
    ] {
        assert_eq!(batches("a.sql", text.as_bytes()).unwrap().len(), 1, "{text:?}");
    }
}

#[test]
fn what_has_no_end_is_named_where_it_begins() {
    for (text, line, word) in [
        ("SELECT 1\nGO\nSELECT 'a\nGO\n", 3, "string"),
        ("/* a /* b */\nGO", 1, "comment"),
        ("SELECT 1\n/* a\n*/ /* b", 3, "comment"),
        ("SELECT\n\"a\"\"", 2, "quoted name"),
        ("SELECT [a]]\n", 1, "name in brackets"),
    ] {
        let fault = fault(text.as_bytes());
        assert!(fault.starts_with(&format!("a.sql:{line}: the {word} that begins here has no end")), "{fault}");
    }
}

#[test]
fn what_is_not_utf_8_is_named_with_its_line() {
    let remedy = "save the file as UTF-8; UTF-16 and code pages are not read";
    assert_eq!(fault(b"SELECT 1\n-- \xe4\n"), format!("a.sql:2: not UTF-8: {remedy}"));
    assert_eq!(fault(b"\xff\xfeS\0"), format!("a.sql:1: not UTF-8: {remedy}"));
    assert_eq!(fault(b"S\0E\0L\0"), format!("a.sql:1: a character of zero: {remedy}"));
}

#[test]
fn no_text_makes_it_fail_or_lose_a_line() {
    let parts =
        ["GO", "\n", "'", "''", "[", "]", "]]", "\"", "/*", "*/", "--", " ", "x", "ä", ":r", "$(", ")", "5", "\r\n"];
    let mut random = 7_u64;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..12 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(parts[(random >> 33) as usize % parts.len()]);
        }
        let Ok(found) = batches("a.sql", text.as_bytes()) else { continue };
        let lines: Vec<_> = text.split_inclusive('\n').collect();
        for batch in found {
            let first = batch.first as usize - 1;
            assert!(batch.last >= batch.first, "{text:?}");
            assert!(lines[first..].concat().starts_with(&batch.text), "{text:?} {batch:?}");
        }
    }
}

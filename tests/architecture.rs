//! The shape of the source: who may use whom, words that have no place, lengths.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Longest source file, lines. The aim is about 400; what outgrows this wants a better split.
const LONGEST_FILE: usize = 420;
/// Longest function, lines. The aim is about 60.
const LONGEST_FUNCTION: usize = 65;

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().to_path_buf(), text));
            }
        }
    }
    found.sort();
    found
}

/// None of these words stands in any line, some lines apart.
fn nowhere(words: &[&str], texts: &[(PathBuf, String)], apart: impl Fn(&str) -> bool) {
    let mut wrong = Vec::new();
    for (path, text) in texts {
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !apart(line)) {
            let found = words.iter().filter(|word| line.contains(**word));
            wrong.extend(found.map(|word| format!("{}:{} has {word}", path.display(), number + 1)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The module that a file of `src` belongs to: `decide` for `src/decide/gate.rs`.
fn module(path: &Path) -> String {
    let second = path.components().nth(1).unwrap().as_os_str().to_string_lossy().into_owned();
    second.trim_end_matches(".rs").to_string()
}

/// Our own modules that a text names, comments and tests apart.
fn uses(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = code.get(at + "crate::".len()..).unwrap_or_default();
        if let Some(list) = rest.strip_prefix('{') {
            found.extend(first_words(list));
        } else {
            found.extend(word(rest));
        }
    }
    found
}

fn word(text: &str) -> Option<String> {
    let word: String = text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}

/// First words of the items of a `use` list, down to its closing brace.
fn first_words(list: &str) -> Vec<String> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                found.extend(word(list.get(start..at).unwrap_or_default()));
                return found;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.extend(word(list.get(start..at).unwrap_or_default()));
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

#[test]
fn every_module_uses_only_those_below_it() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("model", &[] as &[&str]),
        ("decide", &["model"] as &[&str]),
        ("resources", &["model"]),
        ("api", &["model"]),
        ("sql", &["model", "decide"]),
        ("leader", &[]),
        ("k8s", &["model", "api", "leader"]),
        ("telemetry", &["decide"]),
        ("controller", &["api", "decide", "k8s", "leader", "model", "resources", "sql", "telemetry"]),
        ("cli", &["api", "controller", "decide", "leader", "sql", "telemetry"]),
        ("main", &[]),
        ("lib", &[]),
    ]);
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let module = module(&path);
        let below = allowed
            .get(module.as_str())
            .unwrap_or_else(|| panic!("{} is a new module: say what it may use", path.display()));
        for used in uses(&text) {
            if used != module && !below.contains(&used.as_str()) {
                wrong.push(format!("{} uses {used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that point the wrong way:\n{}", wrong.join("\n"));
}

#[test]
fn pure_modules_know_no_clock_no_chance_and_no_input_or_output() {
    let words = [
        "async ",
        "tokio",
        "kube::Client",
        "Instant::now",
        "SystemTime",
        "Timestamp::now",
        "rand::",
        "tracing",
        "std::fs",
        "std::net",
    ];
    let pure = |path: &Path| {
        matches!(module(path).as_str(), "model" | "decide" | "resources") || path.ends_with("leader/rules.rs")
    };
    let pure: Vec<_> = sources("src").into_iter().filter(|(path, _)| pure(path)).collect();
    let comment = |line: &str| line.trim_start().starts_with("//");
    nowhere(&words, &pure, comment);
}

#[test]
fn files_and_functions_are_short() {
    let mut wrong = Vec::new();
    for (path, text) in ["src", "tests"].into_iter().flat_map(sources) {
        let lines: Vec<_> = text.lines().collect();
        if lines.len() > LONGEST_FILE {
            wrong.push(format!("{} has {} lines", path.display(), lines.len()));
        }
        wrong.extend(
            long_functions(&lines)
                .into_iter()
                .map(|(line, length)| format!("{}:{line} is a function of {length} lines", path.display())),
        );
    }
    assert!(
        wrong.is_empty(),
        "longer than {LONGEST_FILE} lines a file or {LONGEST_FUNCTION} a function:\n{}",
        wrong.join("\n")
    );
}

/// Functions that are too long: where they begin and how long they are. A function ends at a brace in its own column,
/// as rustfmt puts it; one inside another counts for itself and for the outer one.
fn long_functions(lines: &[&str]) -> Vec<(usize, usize)> {
    let begins = lines.iter().enumerate().filter(|(_, line)| begins_function(line));
    let lengths =
        begins.map(|(start, line)| (start + 1, function_length(lines.get(start..).unwrap_or_default(), line)));
    lengths.filter(|(_, length)| *length > LONGEST_FUNCTION).collect()
}

/// Whether a function begins here, whatever stands before `fn`.
fn begins_function(line: &str) -> bool {
    let mut rest = line.trim_start();
    loop {
        if rest.starts_with("fn ") {
            return true;
        }
        rest = if let Some(visible) = rest.strip_prefix("pub(") {
            visible.split_once(')').map_or("", |(_, rest)| rest).trim_start()
        } else if let Some(linked) = rest.strip_prefix("extern \"") {
            linked.split_once('"').map_or("", |(_, rest)| rest).trim_start()
        } else if let Some((_, after)) = rest
            .split_once(' ')
            .filter(|(word, _)| ["pub", "default", "const", "async", "unsafe", "safe", "extern"].contains(word))
        {
            after.trim_start()
        } else {
            return false;
        };
    }
}

/// Lines of the function that begins with `first`; a declaration without a body has those up to its semicolon.
fn function_length(lines: &[&str], first: &str) -> usize {
    let column = |line: &str| line.len() - line.trim_start().len();
    let mut has_body = false;
    for (at, line) in lines.iter().enumerate() {
        let text = line.split(" // ").next().unwrap_or(line).trim();
        let on_one_line = at == 0 && text.ends_with('}');
        let ends = if has_body { text == "}" } else { text.ends_with(';') };
        if on_one_line || ends && column(line) == column(first) {
            return at + 1;
        }
        has_body |= text.ends_with('{');
    }
    lines.len()
}

#[test]
fn no_function_hides_its_length() {
    let filler = "        work();\n".repeat(LONGEST_FUNCTION);
    for head in [
        "fn f() {",
        "pub fn f() {",
        "pub(in crate::decide) async fn f() {",
        "pub(super) const unsafe fn f() {",
        "extern \"C\" fn f() {",
        "pub unsafe extern \"C\" fn f(",
        "async fn f<T>(",
        "default fn f() {",
    ] {
        let rest = if head.ends_with('(') { "        a: u8,\n    ) {\n" } else { "" };
        let text = format!("    {head}\n{rest}{filler}    }}\n");
        assert_eq!(long_functions(&text.lines().collect::<Vec<_>>()).len(), 1, "{text}");
        let declared = format!(
            "    fn short(&self);\n    fn wide(\n        &self,\n    ) -> u8;\n    {head}\n{rest}{filler}    }}\n"
        );
        assert_eq!(long_functions(&declared.lines().collect::<Vec<_>>()).len(), 1, "{declared}");
        let short = format!("    {head}\n{rest}        work();\n    }}\n{filler}");
        assert!(long_functions(&short.lines().collect::<Vec<_>>()).is_empty(), "{short}");
    }
    let outer = format!("fn outer() {{\n    fn inner() {{\n{filler}    }}\n}}\n");
    assert_eq!(long_functions(&outer.lines().collect::<Vec<_>>()).len(), 2);
}

#[test]
fn the_repository_speaks_of_the_product_alone() {
    let words = ["/work/", ".library", "issue #", "TODO", "FIXME", "XXX"];
    let all = ["src", "tests"].into_iter().flat_map(sources).filter(|(path, _)| !path.ends_with("architecture.rs"));
    nowhere(&words, &all.collect::<Vec<_>>(), |_| false);
}

//! Remote procedure calls: who is called, with which parameters, and the system procedures that prepare and run
//! statements.

use super::{
    bytes::{Malformed, Reader},
    declare, decode,
};
use crate::{
    errors::Message,
    value::{Output, Parameter, SqlType, Value},
};
use std::collections::HashMap;

/// Parameters of one call, at most.
const MOST_PARAMETERS: usize = 2_100;
/// Prepared statements of one session, at most.
const MOST_PREPARED: usize = 10_000;
/// Longest name of a procedure, four parts in brackets.
const LONGEST_NAME: u16 = 1_046;

const BY_REFERENCE: u8 = 0x01;
const DEFAULT_VALUE: u8 = 0x02;
const ENCRYPTED: u8 = 0x08;
/// Separates calls; cannot begin a parameter, whose name is at most 128 characters.
const NEXT_CALL: u8 = 0xFF;

/// One call as received.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) parameters: Vec<Parameter>,
}

/// What a call runs.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Batch { sql: String, parameters: Vec<Parameter> },
    Procedure { name: String, parameters: Vec<Parameter> },
    Nothing,
}

/// A call made ready.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) step: Step,
    /// Handle of a statement that the call prepared, and the parameter that returns it.
    pub(super) handle: Option<Parameter>,
}

/// Reads the next call of a request; the reader stands behind it afterwards.
pub(super) fn next_call(reader: &mut Reader<'_>) -> Result<Call, Malformed> {
    let name = match reader.u16()? {
        u16::MAX => well_known(reader.u16()?)?.to_owned(),
        0 => return Err(Malformed("a call without a name")),
        units if units > LONGEST_NAME => return Err(Malformed("a procedure name that is too long")),
        units => reader.text(usize::from(units))?,
    };
    reader.u16()?; // recompile, no metadata: no difference here
    let mut parameters = Vec::new();
    while let Some(next) = reader.peek() {
        if next == NEXT_CALL {
            reader.u8()?;
            if reader.is_empty() {
                break;
            }
            return Ok(Call { name, parameters });
        }
        if parameters.len() >= MOST_PARAMETERS {
            return Err(Malformed("a call with more than 2100 parameters"));
        }
        parameters.extend(parameter(reader)?);
    }
    Ok(Call { name, parameters })
}

/// One parameter; none when the procedure's default is asked for.
fn parameter(reader: &mut Reader<'_>) -> Result<Option<Parameter>, Malformed> {
    let name = reader.b_varchar()?;
    let status = reader.u8()?;
    if status & ENCRYPTED != 0 {
        return Err(Malformed("an encrypted parameter"));
    }
    let (value, kind) = decode::parameter(reader)?;
    let output = status & BY_REFERENCE != 0;
    let kind = kind.unwrap_or(SqlType::NVarChar(1));
    Ok((status & DEFAULT_VALUE == 0).then_some(Parameter { name, value, kind, output }))
}

fn well_known(id: u16) -> Result<&'static str, Malformed> {
    Ok(match id {
        1 => "sp_cursor",
        2 => "sp_cursoropen",
        3 => "sp_cursorprepare",
        4 => "sp_cursorexecute",
        5 => "sp_cursorprepexec",
        6 => "sp_cursorunprepare",
        7 => "sp_cursorfetch",
        8 => "sp_cursoroption",
        9 => "sp_cursorclose",
        10 => "sp_executesql",
        11 => "sp_prepare",
        12 => "sp_execute",
        13 => "sp_prepexec",
        14 => "sp_prepexecrpc",
        15 => "sp_unprepare",
        _ => return Err(Malformed("an unknown procedure number")),
    })
}

/// Statements that a session has prepared.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    last: i32,
    statements: HashMap<i32, (String, String)>,
}

impl Prepared {
    /// Forgets everything, when the session is reset.
    pub(super) fn clear(&mut self) {
        self.statements.clear();
    }

    /// What a call runs.
    pub(super) fn plan(&mut self, call: Call) -> Result<Plan, Message> {
        let Call { name, parameters } = call;
        let step = match system_name(&name).as_str() {
            "sp_executesql" => {
                let mut parameters = parameters.into_iter();
                let sql = statement(parameters.next(), "@statement", "sp_executesql")?;
                let declared = text(parameters.next());
                Step::Batch { sql, parameters: bind(&declared, parameters) }
            }
            "sp_prepare" => {
                let mut parameters = parameters.into_iter();
                let handle = parameters.next();
                let declared = text(parameters.next());
                let sql = statement(parameters.next(), "@stmt", "sp_prepare")?;
                return Ok(Plan { step: Step::Nothing, handle: Some(self.keep(declared, sql, handle)?) });
            }
            "sp_prepexec" => {
                let mut parameters = parameters.into_iter();
                let handle = parameters.next();
                let declared = text(parameters.next());
                let sql = statement(parameters.next(), "@stmt", "sp_prepexec")?;
                let handle = Some(self.keep(declared.clone(), sql.clone(), handle)?);
                let step = Step::Batch { sql, parameters: bind(&declared, parameters) };
                return Ok(Plan { step, handle });
            }
            "sp_execute" => {
                let mut parameters = parameters.into_iter();
                let handle = handle(parameters.next())?;
                let (declared, sql) = self.statements.get(&handle).ok_or_else(|| unknown_handle(handle))?;
                Step::Batch { sql: sql.clone(), parameters: bind(declared, parameters) }
            }
            "sp_unprepare" => {
                let handle = handle(parameters.into_iter().next())?;
                self.statements.remove(&handle).ok_or_else(|| unknown_handle(handle))?;
                Step::Nothing
            }
            _ => Step::Procedure { name, parameters },
        };
        Ok(Plan { step, handle: None })
    }

    fn keep(&mut self, declared: String, sql: String, given: Option<Parameter>) -> Result<Parameter, Message> {
        if self.statements.len() >= MOST_PREPARED {
            let text = format!("The stand-in keeps at most {MOST_PREPARED} prepared statements of a session.");
            return Err(Message::new(701, 17, text));
        }
        self.last = self.last.wrapping_add(1);
        self.statements.insert(self.last, (declared, sql));
        let name = given.map_or(String::new(), |given| given.name);
        Ok(Parameter { name, value: Value::Int(self.last.into()), kind: SqlType::Int, output: true })
    }
}

fn unknown_handle(handle: i32) -> Message {
    Message::new(8179, 16, format!("Could not find prepared statement with handle {handle}.")).state(2)
}

fn handle(parameter: Option<Parameter>) -> Result<i32, Message> {
    match parameter.map(|parameter| parameter.value) {
        Some(Value::Int(number)) => i32::try_from(number).map_err(|_| unknown_handle(0)),
        _ => Err(unknown_handle(0)),
    }
}

fn statement(parameter: Option<Parameter>, name: &str, procedure: &str) -> Result<String, Message> {
    match parameter.map(|parameter| parameter.value) {
        Some(Value::Text(text)) => Ok(text),
        Some(Value::Null) => Ok(String::new()),
        Some(_) => {
            let text = format!("Procedure expects parameter '{name}' of type 'ntext/nchar/nvarchar'.");
            Err(Message::new(214, 16, text).state(2))
        }
        None => {
            let text =
                format!("Procedure or function '{procedure}' expects parameter '{name}', which was not supplied.");
            Err(Message::new(201, 16, text).state(4))
        }
    }
}

fn text(parameter: Option<Parameter>) -> String {
    match parameter.map(|parameter| parameter.value) {
        Some(Value::Text(text)) => text,
        _ => String::new(),
    }
}

/// Gives parameters the names they were declared with, in order; the NULL of no type gets its declared type.
fn bind(declared: &str, given: impl Iterator<Item = Parameter>) -> Vec<Parameter> {
    let declared = declare::parse(declared);
    let mut bound: Vec<Parameter> = given.collect();
    for (index, parameter) in bound.iter_mut().enumerate() {
        let declaration = match parameter.name.is_empty() {
            true => declared.get(index),
            false => declared.iter().find(|one| one.name.eq_ignore_ascii_case(&parameter.name)),
        };
        let Some(declaration) = declaration else { continue };
        parameter.name.clone_from(&declaration.name);
        if let (Value::Null, Some(kind)) = (&parameter.value, declaration.kind) {
            parameter.kind = kind;
        }
    }
    bound
}

/// The last part of a name, without brackets, in lower case: `[sys].[sp_executesql]` is `sp_executesql`.
fn system_name(name: &str) -> String {
    let last = name.rsplit('.').next().unwrap_or(name);
    last.trim_matches(['[', ']', '"', ' ']).to_ascii_lowercase()
}

/// The error for a call that cannot be read. The message boundary is intact, so the connection goes on.
pub(super) fn unreadable(malformed: Malformed) -> Output {
    let text = format!(
        "The incoming tabular data stream (TDS) remote procedure call (RPC) protocol stream is incorrect: {}.",
        malformed.0
    );
    Output::Message(Message::new(8009, 16, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call by number with parameters already encoded.
    fn by_number(id: u8, parameters: &[u8]) -> Vec<u8> {
        [&[0xFF, 0xFF, id, 0, 0, 0], parameters].concat()
    }

    const HELLO: &[u8] = &[0, 0, 0xE7, 4, 0, 9, 4, 0xD0, 0, 0x34, 4, 0, b'h', 0, b'i', 0];
    const SEVEN: &[u8] = &[0, 0, 0x26, 4, 4, 7, 0, 0, 0];
    const UNTYPED_NULL: &[u8] = &[0, 0, 0x1F];
    const OUT_INT: &[u8] = &[0, 1, 0x26, 4, 0];

    fn text(text: &str) -> Vec<u8> {
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let length = u16::try_from(wide.len()).unwrap().to_le_bytes();
        [&[0, 0, 0xE7, 0x40, 0x1F, 9, 4, 0xD0, 0, 0x34], &length[..], &wide].concat()
    }

    #[test]
    fn a_call_may_be_by_number_or_by_name() {
        let call = next_call(&mut Reader::new(&by_number(10, HELLO))).unwrap();
        assert_eq!(call.name, "sp_executesql");
        assert_eq!(call.parameters[0].value, Value::Text("hi".into()));
        let named = [&[2, 0, b's', 0, b'p', 0, 0, 0], SEVEN].concat();
        let call = next_call(&mut Reader::new(&named)).unwrap();
        assert_eq!((call.name.as_str(), &call.parameters[0].value), ("sp", &Value::Int(7)));
    }

    #[test]
    fn several_calls_in_one_request_are_separated_by_ff() {
        let bytes = [by_number(12, SEVEN), vec![0xFF], by_number(15, SEVEN)].concat();
        let mut reader = Reader::new(&bytes);
        assert_eq!(next_call(&mut reader).unwrap().name, "sp_execute");
        assert!(!reader.is_empty());
        assert_eq!(next_call(&mut reader).unwrap().name, "sp_unprepare");
        assert!(reader.is_empty());
    }

    #[test]
    fn unnamed_parameters_get_the_names_they_were_declared_with() {
        let bytes = by_number(10, &[&text("s"), &text("@a int, @b bigint"), SEVEN, UNTYPED_NULL].concat());
        let call = next_call(&mut Reader::new(&bytes)).unwrap();
        let Step::Batch { sql, parameters } = Prepared::default().plan(call).unwrap().step else { panic!() };
        assert_eq!(sql, "s");
        assert_eq!((parameters[0].name.as_str(), parameters[0].kind), ("@a", SqlType::Int));
        assert_eq!((parameters[1].name.as_str(), parameters[1].kind), ("@b", SqlType::BigInt));
        assert_eq!(parameters[1].value, Value::Null);
    }

    #[test]
    fn a_prepared_statement_runs_by_its_handle_until_it_is_unprepared() {
        let mut prepared = Prepared::default();
        let mut run = |bytes: Vec<u8>| prepared.plan(next_call(&mut Reader::new(&bytes)).unwrap());
        let plan = run(by_number(13, &[OUT_INT, &text("@a int"), &text("q"), SEVEN].concat())).unwrap();
        let handle = plan.handle.unwrap();
        assert_eq!(handle.value, Value::Int(1));
        assert!(matches!(plan.step, Step::Batch { .. }));
        let one = &[0, 0, 0x38, 1, 0, 0, 0][..];
        let plan = run(by_number(12, &[one, SEVEN].concat())).unwrap();
        let Step::Batch { sql, parameters } = plan.step else { panic!() };
        assert_eq!((sql.as_str(), parameters[0].name.as_str()), ("q", "@a"));
        assert_eq!(run(by_number(15, one)).unwrap().step, Step::Nothing);
        assert_eq!(run(by_number(12, &[one, SEVEN].concat())).unwrap_err().number, 8179);
        assert_eq!(run(by_number(15, one)).unwrap_err().number, 8179);
    }

    #[test]
    fn system_procedures_are_found_under_any_spelling_and_others_are_left_to_the_server() {
        let call = |name: &str| Call { name: name.into(), parameters: Vec::new() };
        let mut prepared = Prepared::default();
        assert_eq!(prepared.plan(call("[sys].[SP_ExecuteSQL]")).unwrap_err().number, 201);
        let step = prepared.plan(call("sp_server_diagnostics")).unwrap().step;
        assert_eq!(step, Step::Procedure { name: "sp_server_diagnostics".into(), parameters: vec![] });
    }

    #[test]
    fn a_parameter_left_to_its_default_is_not_passed() {
        let bytes = by_number(12, &[0, 2, 0x1F]);
        assert_eq!(next_call(&mut Reader::new(&bytes)).unwrap().parameters, []);
    }

    #[test]
    fn unknown_numbers_types_and_lengths_are_malformed() {
        for bytes in [
            by_number(99, &[]),
            by_number(10, &[0, 0, 0xF3, 0, 0]),
            by_number(10, &[0, 0, 0x26, 4, 3, 1, 1, 1]),
            by_number(10, &[0, 0, 0xE7, 0xFF, 0xFF, 9, 4, 0xD0, 0, 0x34, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            by_number(10, &[0, 8, 0x1F]),
            vec![0, 0, 0, 0],
        ] {
            assert!(next_call(&mut Reader::new(&bytes)).is_err(), "{bytes:?}");
        }
    }
}

//! Lines of UCI's CSV files, and the numbers and times in them.
//!
//! Invariant: whatever a line holds, it is read or refused with a reason; nothing overflows.

use crate::model::{DAY, Line, MILLIONTHS};
use millstream::prelude::Timestamp;

/// The greatest amount of a line, in millionths: a billion.
const AMOUNT_MAX: i64 = 1_000_000_000 * MILLIONTHS;
const FIELDS: usize = 8;

/// What a line of the file is.
#[derive(Debug, PartialEq)]
pub(crate) enum Parsed {
    /// The names of the columns.
    Header,
    /// Product, line and time.
    Line(String, Line, Timestamp),
}

/// Reads InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice, CustomerID, Country.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        // Older copies of the file are in Latin-1, whose bytes are Unicode's first characters.
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    };
    let text = text
        .trim_end_matches(['\n', '\r'])
        .trim_start_matches('\u{feff}');
    let fields: [String; FIELDS] = fields(text)
        .ok_or("a quote is not closed")?
        .try_into()
        .map_err(|fields: Vec<_>| format!("it has {} fields, not {FIELDS}", fields.len()))?;
    let [
        invoice,
        product,
        description,
        quantity,
        date,
        price,
        customer,
        country,
    ] = fields;
    if invoice == "InvoiceNo" {
        return Ok(Parsed::Header);
    }
    if product.is_empty() {
        return Err("the product has no code".to_owned());
    }
    let quantity: i64 = quantity
        .parse()
        .map_err(|_| format!("the quantity {quantity:?} is not a whole number"))?;
    let millionths = millionths(&price).ok_or(format!("the price {price:?} is not one"))?;
    let amount = quantity.checked_mul(millionths);
    let amount = amount.filter(|amount| (-AMOUNT_MAX..=AMOUNT_MAX).contains(amount));
    let line = Line {
        amount: amount.ok_or("quantity times price is too much")?,
        quantity,
        description: description.trim().to_owned(),
        // Some copies have been through floating point.
        customer: customer.trim_end_matches(".0").to_owned(),
        invoice,
        country,
    };
    let time = time(&date).ok_or(format!("the date {date:?} is not one"))?;
    Ok(Parsed::Line(product, line, time))
}

/// The fields of a line; a quoted one may hold commas and doubled quotes.
fn fields(text: &str) -> Option<Vec<String>> {
    let (mut all, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => all.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    all.push(field);
    (!quoted).then_some(all)
}

/// A decimal with up to six places as whole millionths.
fn millionths(text: &str) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || part.len() > 6 || !all_digits(part) {
        return None;
    }
    let part: i64 = format!("{part:0<6}").parse().ok()?;
    let whole = whole.parse::<i64>().ok()?.checked_mul(MILLIONTHS)?;
    Some(sign * whole.checked_add(part)?)
}

/// `2010-12-01 08:26:00`, or as in UCI's spreadsheet `12/1/2010 8:26`; in milliseconds, as if the
/// shop were in UTC.
fn time(text: &str) -> Option<Timestamp> {
    let (date, clock) = text.split_once([' ', 'T'])?;
    let numbers = |text: &str, mark: char| -> Option<Vec<i64>> {
        text.split(mark)
            .map(|part| {
                part.parse()
                    .ok()
                    .filter(|number| (0..=9_999).contains(number))
            })
            .collect()
    };
    let (year, month, day) = match (numbers(date, '-'), numbers(date, '/')) {
        (Some(parts), _) if parts.len() == 3 => (parts[0], parts[1], parts[2]),
        (_, Some(parts)) if parts.len() == 3 => (parts[2], parts[0], parts[1]),
        _ => return None,
    };
    let clock = numbers(clock, ':')?;
    let (hour, minute) = (*clock.first()?, *clock.get(1)?);
    let second = clock.get(2).copied().unwrap_or(0);
    let valid = (1971..2100).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60
        && clock.len() <= 3;
    let of_day = (hour * 60 + minute) * 60 + second;
    valid.then(|| days(year, month, day) * DAY + of_day * 1_000)
}

/// How many days a month has.
fn days_of(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01, by counting years from March on, so that leap days come last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_file_are_read() {
        let text =
            "C536379,D,\"A \"\"fine\"\", discount \",-2,2010-12-01 09:41:00,27.505,14527.0,UK\r\n";
        let line = Line {
            invoice: "C536379".to_owned(),
            description: "A \"fine\", discount".to_owned(),
            quantity: -2,
            amount: -55_010_000,
            customer: "14527".to_owned(),
            country: "UK".to_owned(),
        };
        let expected = Parsed::Line("D".to_owned(), line, 1_291_196_460_000);
        assert_eq!(parse(text.as_bytes()), Ok(expected));
        let header = b"InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,C";
        assert_eq!(parse(header), Ok(Parsed::Header));
        // Latin-1, and the dates of the spreadsheet.
        let latin = parse(b"1,X,5\xa3 VOUCHER,1,12/1/2010 9:41,-0.001,,").unwrap();
        let Parsed::Line(_, line, time) = latin else {
            panic!("a header")
        };
        assert_eq!((&*line.description, line.amount), ("5£ VOUCHER", -1_000));
        assert_eq!(time, 1_291_196_460_000);
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for (text, part) in [
            ("", "fields"),
            ("1,X,\"D,1,2010-12-01 09:41,1,,", "quote"),
            ("1,,D,1,2010-12-01 09:41,1,,", "code"),
            ("1,X,D,one,2010-12-01 09:41,1,,", "quantity"),
            ("1,X,D,1,2010-13-01 09:41,1,,", "date"),
            ("1,X,D,1,2011-02-31 09:41,1,,", "date"),
            ("1,X,D,1,2/29/2011 9:41,1,,", "date"),
            ("1,X,D,1,yesterday,1,,", "date"),
            ("1,X,D,1,2010-12-01 09:41,1.0000001,,", "price"),
            ("1,X,D,1,2010-12-01 09:41,1e3,,", "price"),
            ("1,X,D,9223372036854775807,2010-12-01 09:41,2,,", "too much"),
        ] {
            let said = parse(text.as_bytes()).unwrap_err();
            assert!(said.contains(part), "{text} said {said}");
        }
    }

    #[test]
    fn days_are_counted_over_leap_years() {
        for (date, day) in [
            ("1971-01-01", 365),
            ("2000-02-29", 11_016),
            ("2000-03-01", 11_017),
        ] {
            assert_eq!(time(&format!("{date} 00:00")), Some(day * DAY), "{date}");
        }
    }

    #[test]
    fn only_days_that_exist_are_read() {
        let of = |year: i64, month: i64, day: i64| time(&format!("{year}-{month:02}-{day:02} 0:0"));
        let mut next = 365;
        for year in 1971..2100 {
            for month in 1..=12 {
                for day in (0..=32).filter_map(|day| of(year, month, day)) {
                    // Each is the day after the one before it.
                    assert_eq!(day, next * DAY, "{year}-{month}");
                    next += 1;
                }
            }
        }
        assert_eq!(next, days(2100, 1, 1));
        assert_eq!(
            [1900, 2000, 2023, 2024].map(|year| days_of(year, 2)),
            [28, 29, 28, 29]
        );
    }
}

//! A number or an instant for every row.

use super::set::RowSet;
use crate::filter::Value;

/// The numbers of all rows: eight bytes a row. A row that is gone reads as 0.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    numbers: Vec<i64>,
    nulls: RowSet,
}

impl Numbers {
    /// The number of a row; numbers and instants are both given as instants, which every check takes alike.
    #[inline]
    pub(crate) fn get(&self, row: u32) -> Value<'_> {
        match self.key(row) {
            Some(number) => Value::Time(number),
            None => Value::Null,
        }
    }

    /// The number of a row, or none for null, which sorts first.
    #[inline]
    pub(crate) fn key(&self, row: u32) -> Option<i64> {
        let number = self.numbers.get(row as usize).copied().unwrap_or(0);
        // A null is kept as 0, so few rows pay for the second look.
        (number != 0 || !self.nulls.contains(row)).then_some(number)
    }

    /// Notes the number of a row, or that the row is gone; true if it is another one than before.
    pub(crate) fn update(&mut self, row: u32, value: Option<Value<'_>>) -> bool {
        let number = match value {
            Some(Value::Int(number) | Value::Time(number)) => Some(number),
            _ => None,
        };
        let turned = if value.is_some() && number.is_none() {
            self.nulls.insert(row)
        } else {
            self.nulls.remove(row)
        };
        if self.numbers.len() <= row as usize {
            self.numbers.resize(row as usize + 1, 0);
        }
        let held = &mut self.numbers[row as usize];
        std::mem::replace(held, number.unwrap_or(0)) != number.unwrap_or(0) || turned
    }

    pub(crate) fn shrink(&mut self) {
        self.numbers.shrink_to_fit();
        self.nulls.shrink();
    }
}

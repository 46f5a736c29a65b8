#include "table_shape.h"

namespace mbsync {

TableShape shape_of(const Table& table) {
  TableShape shape{table.schema, table.name, {}, {}};
  for (const auto& column : table.columns) {
    shape.columns.push_back({column.number, column.name, column.value_type, false});
  }
  for (const auto index : table.key) {
    shape.columns[index].key = true;
  }
  for (const auto& foreign_key : table.foreign_keys) {
    if (foreign_key.columns.size() > 1) {
      shape.references.push_back(foreign_key.columns);
    }
  }
  return shape;
}

}  // namespace mbsync

#include "documents/powershell_completion.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

namespace mbsync {
namespace {

std::string quoted_list(const std::vector<std::string>& words) {
  std::vector<std::string> all;
  all.reserve(words.size());
  for (const std::string& word : words) {
    all.push_back(powershell_quoted(word));
  }
  return fmt::format("@({})", fmt::join(all, ", "));
}

/// Files are what PowerShell itself offers where a completer has nothing to say.
std::string value_of(const Parameter& parameter) {
  return fmt::format("Takes = ${}; Choices = {}", parameter.value.empty() ? "false" : "true",
                     quoted_list(parameter.choices));
}

std::string table_of(const Command& program) {
  std::string text;
  for_each_command(program, [&](const Command& command) {
    text += fmt::format("        {} = @{{\n            Commands = @(\n", powershell_quoted(path_text(command)));
    for (const Command& below : command.commands) {
      text += fmt::format("                @{{ Name = {}; Text = {} }}\n", powershell_quoted(below.path.back()),
                          powershell_quoted(below.text));
    }
    text += "            )\n            Options = @(\n";
    for (const Parameter& option : command.options) {
      for (const std::string& name : option.names) {
        text += fmt::format("                @{{ Name = {}; Text = {}; {} }}\n", powershell_quoted(name),
                            powershell_quoted(option.text), value_of(option));
      }
    }
    std::vector<std::string> choices;
    for (const Parameter& argument : command.arguments) {
      choices.insert(choices.end(), argument.choices.begin(), argument.choices.end());
    }
    text += fmt::format("            )\n            Arguments = {}\n        }}\n", quoted_list(choices));
  });
  return text;
}

constexpr std::string_view kScript =
    R"(# Completion of {program} for PowerShell, made by '{program} completion powershell'.
Register-ArgumentCompleter -Native -CommandName {quoted_program}, {quoted_exe} -ScriptBlock {{
    param($wordToComplete, $commandAst, $cursorPosition)

    # What there is at each command.
    $table = @{{
{table}    }}

    $at = {quoted_program}
    $option = $null
    $onlyArguments = $false
    foreach ($element in ($commandAst.CommandElements | Select-Object -Skip 1)) {{
        if ($element.Extent.EndOffset -ge $cursorPosition) {{ break }}
        $word = $element.Extent.Text
        if ($null -ne $option) {{
            $option = $null
        }} elseif ($onlyArguments) {{
            continue
        }} elseif ($word -ceq '--') {{
            $onlyArguments = $true
        }} elseif ($word.StartsWith('-')) {{
            $option = $table[$at].Options | Where-Object {{ $_.Name -ceq $word -and $_.Takes }} | Select-Object -First 1
        }} elseif ($table[$at].Commands | Where-Object {{ $_.Name -ceq $word }}) {{
            $at = "$at $word"
        }}
    }}

    $before = ''
    $current = [string]$wordToComplete
    if ($null -eq $option -and -not $onlyArguments -and $current -match '^(--[^=]+)=(.*)$') {{
        $name = $Matches[1]
        $before = "$name="
        $current = $Matches[2]
        $option = $table[$at].Options | Where-Object {{ $_.Name -ceq $name -and $_.Takes }} | Select-Object -First 1
        if ($null -eq $option) {{ return }}
    }}

    $offered = @()
    if ($null -ne $option) {{
        $offered += $option.Choices | ForEach-Object {{ @{{ Name = $_; Text = $option.Text; Kind = 'ParameterValue' }} }}
    }} elseif ($current.StartsWith('-') -and -not $onlyArguments) {{
        $offered += $table[$at].Options | ForEach-Object {{ @{{ Name = $_.Name; Text = $_.Text; Kind = 'ParameterName' }} }}
    }} else {{
        $offered += $table[$at].Arguments | ForEach-Object {{ @{{ Name = $_; Text = $_; Kind = 'ParameterValue' }} }}
        if (-not $onlyArguments) {{
            $offered += $table[$at].Commands | ForEach-Object {{ @{{ Name = $_.Name; Text = $_.Text; Kind = 'Command' }} }}
        }}
    }}
    $offered | Where-Object {{ $_.Name -and $_.Name.StartsWith($current, [StringComparison]::Ordinal) }} | ForEach-Object {{
        $text = if ($_.Text) {{ $_.Text }} else {{ $_.Name }}
        [System.Management.Automation.CompletionResult]::new($before + $_.Name, $_.Name, $_.Kind, $text)
    }}
}}
)";

}  // namespace

std::string powershell_quoted(const std::string& text) {
  // PowerShell takes the typographic ones for quotes as well: U+2018 to U+201B.
  constexpr std::array<std::string_view, 5> kQuotes{"'", "\u2018", "\u2019", "\u201A", "\u201B"};
  std::string word = "'";
  for (std::string_view rest = text; !rest.empty();) {
    std::size_t length = 1;
    for (const std::string_view quote : kQuotes) {
      if (rest.starts_with(quote)) {
        length = quote.size();
        word += quote;
      }
    }
    word += rest.substr(0, length);
    rest.remove_prefix(length);
  }
  return word + "'";
}

std::string powershell_completion(const Command& program) {
  const auto& name = program.path.front();
  return fmt::format(fmt::runtime(kScript), fmt::arg("program", name),
                     fmt::arg("quoted_program", powershell_quoted(name)),
                     fmt::arg("quoted_exe", powershell_quoted(name + ".exe")), fmt::arg("table", table_of(program)));
}

}  // namespace mbsync

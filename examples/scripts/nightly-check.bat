@echo off
rem Looks whether mbsync is well, and writes a dated report. For the task scheduler: it prints the report if something is
rem wrong, and nothing otherwise.
rem
rem   nightly-check.bat [DIRECTORY]      where reports go; without it, reports in the current directory
rem
rem   schtasks /create /tn mbsync-check /sc daily /st 03:15 /ru SYSTEM /tr "C:\mbsync\nightly-check.bat C:\mbsync\reports"
rem
rem Ends with 0 if all is well, 1 if something is wrong, 2 if no report can be written. Keeps the reports of 30 days.
setlocal
set "directory=%~1"
if "%directory%"=="" set "directory=reports"
if not exist "%directory%\" mkdir "%directory%"
if not exist "%directory%\" exit /b 2
rem The date without regard to how this machine writes dates.
set "today="
for /f %%d in ('powershell -NoProfile -Command "Get-Date -Format yyyy-MM-dd"') do set "today=%%d"
if "%today%"=="" exit /b 2
set "report=%directory%\mbsync-%today%.txt"

set "verdict=all is well"
if exist "%report%" del "%report%"
>"%report%" echo mbsync on %COMPUTERNAME%, %today% %TIME%
if not exist "%report%" exit /b 2
call :look mbsync version
call :look mbsync smoke-check
call :look mbsync status
>>"%report%" echo.
>>"%report%" echo %verdict%
forfiles /p "%directory%" /m mbsync-*.txt /d -30 /c "cmd /c del @path" >nul 2>nul

if not "%verdict%"=="all is well" (
  type "%report%"
  exit /b 1
)
exit /b 0

rem Runs a command, and notes what it says and how it ends.
:look
>>"%report%" echo.
>>"%report%" echo == %*
%* >>"%report%" 2>&1
set code=%errorlevel%
>>"%report%" echo (exit code %code%)
if not %code%==0 set "verdict=something is wrong"
exit /b 0

@echo off
rem How the node of this machine is, with a last line in plain words.
rem
rem   status.bat [options for mbsync status ...]
rem
rem Ends with what "mbsync status" ends with: 0 healthy, 1 degraded, 2 down.
setlocal
mbsync status %*
set code=%errorlevel%
set "words='mbsync status' itself has failed (exit code %code%)"
if %code%==0 set "words=healthy: nothing is to be done"
if %code%==1 set "words=degraded: it works, and something above wants a person"
if %code%==2 set "words=down, or wrongly configured: nothing is exchanged; what the application writes meanwhile is kept. 'mbsync start', or the log"
echo status.bat: %words% 1>&2
exit /b %code%

@echo off
rem Sets mbsync up as a service on this machine. Run it as an administrator.
rem
rem   install.bat [FILE]      FILE has DATABASE_URL=... and SYNC_REGISTRATION_KEY=...; without it service.env here
rem
rem Ends with what "mbsync install" ends with: 0 done, 2 something has to be set, 3 the database, 4 the port.
setlocal
set "file=%~1"
if "%file%"=="" set "file=service.env"

where mbsync >nul 2>nul
if errorlevel 1 (
  echo install.bat: there is no mbsync on this machine: install it first 1>&2
  exit /b 2
)
if not exist "%file%" (
  echo install.bat: %file% is not there. It needs lines DATABASE_URL=... and SYNC_REGISTRATION_KEY=...; 1>&2
  echo install.bat: "mbsync keygen" makes a key, the same one for all machines 1>&2
  exit /b 2
)

rem Without a terminal it asks nothing, and leaves the firewall alone: it shows the commands for it.
mbsync install --env-file "%file%" <nul
if not %errorlevel%==0 exit /b %errorlevel%
rem For the eye only: a first machine is alone, and says so.
mbsync status
exit /b 0
